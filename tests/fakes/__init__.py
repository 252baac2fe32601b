"""Servers that stand in for third parties."""
