"""The artifacts of one attempt: fetched, lent from the cache, stored, saved again and again."""
