// A formula wider than its column is scrolled; so the keyboard has to reach it.
document.addEventListener("DOMContentLoaded", () => {
  const article = document.getElementById("main-content");
  new ResizeObserver(() => {
    article.querySelectorAll("mjx-container[display]").forEach((formula) => {
      if (formula.scrollWidth > formula.clientWidth) formula.tabIndex = 0;
      else formula.removeAttribute("tabindex");
    });
  }).observe(article);
});
