"""How a recurrence runs over ragged time: the reference loop, faster engines, and the dispatch between them."""
