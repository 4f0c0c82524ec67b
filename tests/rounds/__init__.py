"""Rounds: a running platform under load is broken by chance, healed, and asked for every acknowledged write by its id."""
