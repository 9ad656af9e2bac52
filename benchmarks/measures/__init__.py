"""Ours, and the bare scan that all are measured against."""
