"""Exact or nearly exact answers that guides are held against: NUTS, bridge and importance sampling."""
