"""How the networks of the tables are trained: what, from what and how; `training` does the rest."""
