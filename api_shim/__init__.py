"""HTTP in, job out."""
