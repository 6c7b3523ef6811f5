"""Students: small video classifiers trained on labeled clips (`training`), and their scores (`evaluation`).

Teachers (`teachers`) are students of the real clips, which label others.
"""
