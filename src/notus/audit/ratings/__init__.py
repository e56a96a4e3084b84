"""Ratings and scores against one another."""
