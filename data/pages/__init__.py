"""What every HTML report is made of: numbers in words, charts as inline SVG, and the page around them."""
