
'use strict';
const find = (id) => document.getElementById(id);
const faders = document.querySelectorAll('.fade');
const views = [...document.querySelectorAll('main .view')];
const large = find('large');
let at = 0;

function fade(value) {
  const words = value + ' %';
  document.documentElement.style.setProperty('--fade', value / 100);
  for (const one of faders) {
    one.value = value;
    one.setAttribute('aria-valuetext', words);
  }
  document.querySelector('output').value = words;
}

function show(number) {
  at = (number + views.length) % views.length;
  const figure = views[at].closest('figure');
  const picture = figure.querySelector('svg').cloneNode(true);
  for (const one of picture.querySelectorAll('[id]')) one.removeAttribute('id');
  const name = document.createElement('p');
  name.append(figure.closest('.entry').querySelector('h2 bdi').cloneNode(true));
  const caption = figure.querySelector('figcaption').cloneNode(true);
  caption.append(name);
  find('shown').replaceChildren(picture, caption);
  if (!large.open) large.showModal();
}

for (const one of faders) one.addEventListener('input', () => fade(one.value));
views.forEach((view, number) => view.addEventListener('click', () => show(number)));
find('previous').addEventListener('click', () => show(at - 1));
find('next').addEventListener('click', () => show(at + 1));
find('close').addEventListener('click', () => large.close());
large.addEventListener('close', () => views[at].focus());
large.addEventListener('click', (event) => {
  if (event.target === large || event.target.closest('a')) large.close();
});
large.addEventListener('keydown', (event) => {
  if (event.target.matches('input')) return;
  if (event.key === 'ArrowLeft') show(at - 1);
  if (event.key === 'ArrowRight') show(at + 1);
});
find('controls').hidden = false;
