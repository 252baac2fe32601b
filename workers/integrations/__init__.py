"""Every call to a service that was connected: Twilio, and the OAuth providers."""
