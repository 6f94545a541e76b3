"""azr_agents: the learner, a package apart. Empty in this release: it trains on environments that come first."""
