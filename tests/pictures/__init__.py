# SPDX-License-Identifier: Apache-2.0
"""Pictures of the shipped dashboards: their own queries, asked of a real Prometheus, drawn here.

Debian has no Grafana. So this reads a dashboard's JSON (`board`, pure), writes values as Grafana's
units do (`units`, pure), asks a Prometheus that scrapes a running fleet (`__main__`) and draws the
panels in the dashboard's grid with matplotlib (`drawing`). It knows the few kinds of panels that
the dashboards use, and refuses any other.
"""
