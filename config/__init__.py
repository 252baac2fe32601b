"""Every knob, and the only place that reads the environment."""
