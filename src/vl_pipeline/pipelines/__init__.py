"""The stages: each folder has the stage's nodes and how they are wired."""
