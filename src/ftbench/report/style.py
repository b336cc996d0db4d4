"""Style and script of the pages: light, dark and print; tables that sort and filter. Nothing is loaded from elsewhere.

The pages can be read without the script; it only adds order. Everything works from the keyboard: heads are buttons.
"""

STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #fff; --soft: #5c5c5c; --line: #ddd; --tint: #f5f5f3;
  --link: #0050a0; --better: #00593f; --worse: #8a3200; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #161616; --soft: #ababab; --line: #3a3a3a; --tint: #202020; --link: #8ec7ff;
    --better: #6fd3ac; --worse: #ffb08a; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; } h3 { font-size: 1rem; }
a { color: var(--link); }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .3rem; }
th, td { padding: .35rem .8rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th:first-child, td.text, th.text { text-align: left; } thead th { background: var(--tint); }
thead button { all: unset; cursor: pointer; font-weight: bold; }
thead button:focus-visible, a:focus-visible, input:focus-visible {
  outline: 2px solid var(--link); outline-offset: 2px; }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
small { display: block; color: var(--soft); font-weight: normal; font-size: .78rem; }
small span { white-space: nowrap; } tbody th { min-width: 6.5rem; }
.better { color: var(--better); } .worse { color: var(--worse); }
figure { margin: 1rem 0; } figure img { background: #fff; max-width: 100%; height: auto; }
code, pre { background: var(--tint); padding: 0 .2rem; } pre { overflow-x: auto; padding: .6rem; font-size: .8rem; }
label input { font: inherit; padding: .2rem .4rem; color: inherit; background: var(--paper);
  border: 1px solid var(--soft); }
nav li { display: inline-block; margin-right: 1rem; } nav ul { padding: 0; } input { max-width: 100%; }
.skip { position: absolute; left: -99rem; } .skip:focus { position: static; }
[hidden] { display: none; }
@media print { nav, .controls, .skip { display: none; }
  body { max-width: none; margin: 0; font-size: 10pt; color: #000; }
  tr, figure { break-inside: avoid; } thead { display: table-header-group; } .wide { overflow: visible; } }
"""

SCRIPT = """
'use strict';
(function () {
  const value = cell => {
    const text = cell === undefined ? '' : cell.dataset.v !== undefined ? cell.dataset.v : cell.textContent.trim();
    return text === '' || isNaN(text) ? text.toLowerCase() : Number(text);
  };
  const order = (one, other) => {
    if (one === '' || other === '') return one === other ? 0 : one === '' ? 1 : -1;
    if (typeof one === 'number' && typeof other === 'number') return one - other;
    return String(one).localeCompare(String(other));
  };
  for (const table of document.querySelectorAll('table.sortable')) {
    const heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach((head, column) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute('aria-sort', 'none');
      button.addEventListener('click', () => {
        const down = head.getAttribute('aria-sort') === 'ascending';
        heads.forEach(other => other.setAttribute('aria-sort', 'none'));
        head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
        const rows = Array.from(table.tBodies[0].rows);
        const keys = new Map(rows.map(row => [row, value(row.cells[column])]));
        rows.sort((one, other) => {
          const a = keys.get(one), b = keys.get(other);
          return down && a !== '' && b !== '' ? order(b, a) : order(a, b);
        });
        table.tBodies[0].append(...rows);
      });
    });
  }
  const box = document.getElementById('filter');
  if (box === null) return;
  const told = document.getElementById('shown');
  const rows = Array.from(document.querySelectorAll('table.sortable tbody tr, section.filtered'));
  const texts = rows.map(row => (row.dataset.find || row.textContent).toLowerCase());
  const filter = () => {
    const words = box.value.toLowerCase().split(/\\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, index) => {
      row.hidden = !words.every(word => texts[index].includes(word));
      shown += row.hidden ? 0 : 1;
    });
    told.textContent = words.length ? shown + ' of ' + rows.length + ' shown' : '';
  };
  box.addEventListener('input', filter);
  document.querySelector('.controls').hidden = false;
})();
"""
