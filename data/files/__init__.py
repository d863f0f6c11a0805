"""Input files: finding them, opening them, and telling their versions and tables of other formats apart."""
