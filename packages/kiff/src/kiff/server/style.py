"""How the pages look, in light and in dark. One file, with nothing fetched from anywhere."""

STYLE = """\
:root {
  color-scheme: light dark;
  --ink: #1c2430; --soft: #5a6675; --line: #dde3ea; --paper: #ffffff; --side: #f6f8fa; --code: #f1f4f7;
  --link: #0b5cad; --get: #1a7f4b; --post: #0b5cad; --put: #93590a; --delete: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #dfe6ee; --soft: #97a4b3; --line: #2b3440; --paper: #12171d; --side: #171d24; --code: #1c242d;
    --link: #7ab8f5; --get: #58c48d; --post: #7ab8f5; --put: #e0a955; --delete: #f28b82;
  }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body {
  margin: 0; display: grid; grid-template-columns: 20rem minmax(0, 1fr); color: var(--ink); background: var(--paper);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
nav {
  position: sticky; top: 0; height: 100vh; overflow-y: auto; padding: 1.5rem 1rem; background: var(--side);
  border-right: 1px solid var(--line); font-size: .85rem;
}
nav ul { list-style: none; margin: 0; padding: 0; }
nav > ul > li { margin-bottom: .9rem; font-weight: 600; }
nav ul ul { margin-top: .3rem; font-weight: 400; }
nav ul ul li { margin: 0; }
nav li li a { display: block; padding: .12rem 0; color: var(--soft); overflow-wrap: anywhere; }
nav code { background: none; padding: 0; font-weight: 400; }
main { padding: 2rem clamp(1rem, 4vw, 4rem) 6rem; max-width: 68rem; }
a { color: var(--link); text-decoration: none; }
a:hover, a:focus-visible { text-decoration: underline; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 1rem; }
h2 { font-size: 1.35rem; margin: 3.5rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 0 0 .4rem; overflow-wrap: anywhere; }
section { margin: 2.2rem 0; }
section:target { outline: 2px solid var(--link); outline-offset: .7rem; border-radius: 2px; }
p { margin: .4rem 0 .8rem; }
.access, .later { color: var(--soft); font-size: .92rem; }
.later { font-style: italic; }
code, pre { font: .87em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
code { background: var(--code); padding: .1em .3em; border-radius: 4px; overflow-wrap: anywhere; }
h3 code { background: none; padding: 0; font-size: 1rem; }
pre { background: var(--code); border: 1px solid var(--line); border-radius: 6px; padding: .8rem 1rem; }
pre { overflow-x: auto; }
pre code { background: none; padding: 0; overflow-wrap: normal; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; }
dl { margin: .5rem 0; }
dt { font-weight: 600; font-size: .9rem; }
dd { margin: 0 0 .5rem; }
.method { font: 600 .78rem/1 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.get { color: var(--get); } .post { color: var(--post); } .put, .patch { color: var(--put); }
.delete { color: var(--delete); }
.status { font-variant-numeric: tabular-nums; font-weight: 600; color: var(--soft); }
h3 .status { margin-left: .7rem; font-weight: 400; }
.s2 { color: var(--get); } .s4 { color: var(--put); } .s5 { color: var(--delete); }
@media (max-width: 52rem) {
  body { display: block; }
  nav { position: static; height: auto; max-height: 40vh; border-right: 0; border-bottom: 1px solid var(--line); }
}
"""
