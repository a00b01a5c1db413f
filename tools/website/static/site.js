// The sidebar lists every page: it begins where the reader is, and not at its top.
addEventListener("DOMContentLoaded", () => {
  const box = document.querySelector(".sidebar-scroll");
  const here = document.querySelector(".sidebar-tree .current-page");
  if (box && here) box.scrollTop += here.getBoundingClientRect().top - box.clientHeight / 2;
});
