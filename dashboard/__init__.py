"""The dashboard: what a store holds, as pages that Streamlit serves; `steerkit dashboard` starts it.

`app.py` is what Streamlit runs, `frame.py` lays out every page, `views/` holds one page per file. `reading.py` is the
only way to data. `charts/` draws, and knows neither Streamlit nor SQL. `look.py` has the colours, `link.py` what stands
in the address, `figure.py` a chart with its downloads, `live.py` what follows a run.
"""
