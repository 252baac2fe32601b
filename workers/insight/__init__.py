"""A question in plain words -> a small typed query -> a statement -> rows and a sentence."""
