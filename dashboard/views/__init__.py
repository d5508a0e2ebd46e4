"""One page per file, found by its name; the frame shows them in their order. A view offers:

- `TITLE`: its name in the navigation, and `ICON`: a Material symbol, for example ":material/article:".
- `ORDER`: its place in the navigation, rising; 0 is the front page. Pareto 0, Gates 10, Rounds 20, Texts 30, Heal 40,
  Lineage 50, Compare runs 60, SQL 70.
- `SENTENCE`: what one is looking at and what good looks like, in a sentence or two.
- `show(reader)`: draw it, below title and sentence. The address of the page is the file's name.

What `show` may rely on:

- `reader.ask(question, **parameters)` and `reader.query(sql, parameters)` answer from the store as polars frames, kept
  until the store changes. Nothing else reads the store. Ask for the rows that are shown, never for a whole table.
- `link.pick`, `link.picks`, `link.switch`, `link.number` keep their value in the address of the page, and say so when
  a link asks for something that is not there. Other widgets take `key=` and `bind="query-params"`. `link.remember` and
  `link.recall` are for what no widget holds; `link.to(view, label, **values)` leads to another view with its widgets
  set. Names in the address are the same on all pages: run, method, trait, seed, round, arm, text, id.
- `figure.show(chart, frame, name)` shows a chart with its PNG, SVG and CSV, `figure.table(frame, name)` a table with
  its CSV. Charts come from files in `charts/`: frames in, Altair out, drawn for a light page.
- `look` has the colours. `look.plain(text)` makes text of a model, a persona or a run harmless in Markdown (also in
  labels of widgets, and in what radio buttons and pills offer); in HTML it goes through `html.escape`. `st.text`,
  `st.code`, select boxes and tables show text as it is.
- `empty.nothing(what, command)` says that there is nothing yet and which command makes it.

A failure needs no handling: the frame shows it without paths and keeps the navigation. A view is drawn anew when the
store changes, so that it follows a run without doing anything.
"""
