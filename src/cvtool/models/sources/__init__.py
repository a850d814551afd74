"""Where networks and their weights come from: one module for each origin."""
