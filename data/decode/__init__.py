"""From Arrow columns to sequences, in either layout: numbers, categories, times and ids."""
