"""Write the model card: what a person should know about a bundle."""
