"""The cards over time: chosen, watched, withheld, and what befell the runs on them."""
