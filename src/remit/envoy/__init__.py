"""Envoy's external authorization: decides the requests that pass an Envoy."""
