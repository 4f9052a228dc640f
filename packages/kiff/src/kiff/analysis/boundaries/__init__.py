"""Calls worth trying: on both sides of every threshold of an action, the first of which goes through if one can."""
