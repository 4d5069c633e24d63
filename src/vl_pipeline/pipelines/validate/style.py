"""How the validation report looks, in the light and in the dark."""

STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --ink: #1a2330; --soft: #667180;
  --line: #e4e8ed; --fill: #3b72b0; --wash: #eaf0f7; --good: #1d7a4c; --bad: #b8322b;
  --warn: #9a6400; }
@media (prefers-color-scheme: dark) { :root { --page: #12161c; --card: #1a2029; --ink: #e3e8ef;
  --soft: #93a0b0; --line: #2b3440; --fill: #6ea3dd; --wash: #232d3a; --good: #58c08c;
  --bad: #ff8178; --warn: #e2b04a; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 62px; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 14px/1.5 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
nav { position: sticky; top: 0; z-index: 1; background: var(--card);
  border-bottom: 1px solid var(--line); }
nav div { display: flex; flex-wrap: wrap; gap: 2px 22px; max-width: 1120px; margin: 0 auto;
  padding: 11px 24px; }
nav a { color: var(--soft); text-decoration: none; font-weight: 500; }
nav a:hover { color: var(--ink); }
main { max-width: 1120px; margin: 0 auto; padding: 24px 24px 72px; }
section, header { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 20px 24px; margin-bottom: 18px; overflow-x: auto; }
h1 { font-size: 25px; line-height: 1.25; margin: 0 0 4px; letter-spacing: -.01em; }
h2 { font-size: 17px; margin: 0 0 12px; }
h3 { font-size: 14px; margin: 22px 0 8px; }
p { margin: 4px 0 10px; }
.soft { color: var(--soft); }
.good { color: var(--good); }
.bad { color: var(--bad); }
.warn { color: var(--warn); }
header { border-left: 6px solid var(--good); }
header.warn { border-left-color: var(--warn); color: inherit; }
header.bad { border-left-color: var(--bad); color: inherit; }
header.bad h1 { color: var(--bad); }
header.warn h1 { color: var(--warn); }
header ul { margin: 10px 0; padding-left: 18px; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { color: var(--soft); font-size: 12px; font-weight: 500; text-align: left;
  white-space: nowrap; }
th, td { border-bottom: 1px solid var(--line); padding: 6px 16px 6px 0; vertical-align: top;
  overflow-wrap: anywhere; }
tr:last-child td { border-bottom: 0; }
th.number, th.name, th.code, th.bar { width: 1%; }
td.number, td.name, td.code, td.bar { max-width: 330px; overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; }
th.number, td.number { text-align: right; }
td.code { font: 12px/1.75 ui-monospace, Menlo, Consolas, monospace; }
tfoot td { border-top: 1px solid var(--line); font-weight: 600; }
.sum { display: flex; flex-wrap: wrap; gap: 4px 10px; align-items: baseline; margin: 0 0 14px; }
.sum b { font-size: 24px; }
.sum span { color: var(--soft); margin-right: 12px; }
td.wide { min-width: 210px; }
td.bar { min-width: 190px; }
td.bar i { background: var(--fill); border-radius: 2px; display: inline-block; height: 9px;
  margin-right: 8px; min-width: 1px; }
details table { font-size: 12px; margin: 4px 0; }
td details td, td details th { border: 0; min-width: 84px; padding: 1px 14px 1px 0; }
summary { color: var(--soft); cursor: pointer; font-size: 12px; white-space: nowrap; }
.figures { display: grid; gap: 28px; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); }
.figures figure:first-child { grid-row: span 2; }
figure { display: flex; flex-direction: column; justify-content: space-between; margin: 0; }
figcaption b { display: block; font-weight: 600; }
svg { display: block; margin-top: 8px; width: 100%; }
svg rect { fill: var(--fill); }
svg line { stroke: var(--soft); stroke-opacity: .5; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
.matches { display: grid; gap: 14px; grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); }
.match { border: 1px solid var(--line); border-radius: 8px; display: flex;
  flex-direction: column; overflow: hidden; }
.match > b { background: var(--wash); color: var(--soft); display: block; font-size: 12px;
  font-weight: 500; padding: 4px 12px; }
.sides { display: grid; flex: 1; grid-template-columns: 1fr 1fr; }
.sides > div { padding: 10px 12px; min-width: 0; overflow-wrap: anywhere; }
.sides > div + div { border-left: 1px solid var(--line); }
.sides small { color: var(--soft); display: block; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; }
.sides p { margin: 6px 0 0; font-size: 12.5px; line-height: 1.4; display: -webkit-box;
  -webkit-box-orient: vertical; -webkit-line-clamp: 4; overflow: hidden; }
.sides img, .none { display: block; width: 100%; height: 128px; object-fit: contain;
  background: var(--wash); border-radius: 4px; margin-top: 4px; }
td img { background: var(--wash); border-radius: 4px; display: block; height: 72px;
  object-fit: contain; width: 96px; }
.none { color: var(--soft); font-size: 12px; line-height: 128px; text-align: center; }
"""
