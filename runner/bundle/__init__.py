"""Read and check bundles, and run their encoder."""
