'use strict';
const find = (id) => document.getElementById(id);
const home = find('cards');
const cards = [...home.querySelectorAll('.card')];
const errors = find('errors');
const largestFirst = (a, b) => b.dataset.loss - a.dataset.loss;
const lowestFirst = (a, b) => a.dataset.agreement - b.dataset.agreement;
const orders = { loss: largestFirst, agreement: lowestFirst };

function wipe(slider) {
  slider.closest('.card').style.setProperty('--cut', slider.value + '%');
  slider.setAttribute('aria-valuetext', slider.value + ' % map');
}

function choose() {
  const list = document.querySelector('input[name=list]:checked').value;
  const label = find('label').value;
  const shown = cards.filter((card) =>
    card.dataset.lists.split(' ').includes(list) && (label === '' || card.dataset.label === label));
  if (list in orders) shown.sort(orders[list]);
  home.replaceChildren(...shown);
  home.hidden = list === 'errors';
  find('label').disabled = list === 'errors';
  if (errors) errors.hidden = list !== 'errors';
  const n = list === 'errors' ? Number(errors.dataset.count) : shown.length;
  find('count').value = n + (list === 'errors' ? ' picture' : ' map') + (n === 1 ? '' : 's');
}

for (const slider of home.querySelectorAll('.wipe input')) slider.addEventListener('input', () => wipe(slider));
find('every').addEventListener('input', (event) => {
  event.target.setAttribute('aria-valuetext', event.target.value + ' % map');
  for (const card of cards) {
    const slider = card.querySelector('.wipe input');
    if (!slider) continue;
    slider.value = event.target.value;
    wipe(slider);
  }
});
find('controls').addEventListener('change', choose);
find('controls').addEventListener('submit', (event) => event.preventDefault());
find('controls').hidden = false;
choose();
