"""The subcommands that need no training library."""
