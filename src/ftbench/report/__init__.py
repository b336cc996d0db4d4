"""The page, the figures and the leaderboard made from the tables."""
