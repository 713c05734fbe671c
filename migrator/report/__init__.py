"""Words for people and programs; only what GitHub and Kubernetes read is written out here."""
