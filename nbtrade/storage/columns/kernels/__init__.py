"""Compiled access to packed integers and to the page that writers share with readers."""
