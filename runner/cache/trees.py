"""Kept trees."""
