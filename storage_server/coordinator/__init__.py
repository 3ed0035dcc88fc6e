"""The coordinator: membership, placement, manifests, views. Carries no video bytes."""
