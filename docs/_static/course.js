// What is wider than its column is scrolled: so the keyboard has to reach it, and an edge behind which more is hidden
// has to look like one.
document.addEventListener("DOMContentLoaded", () => {
  const article = document.getElementById("main-content");
  const wide = "mjx-container[display], pre, .pst-scrollable-table-container, .cell_output .output.text_html, .course-map";
  const mark = (box) => {
    const hidden = box.scrollWidth - box.clientWidth;
    if (hidden > 0) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
    box.classList.toggle("more-left", box.scrollLeft > 1);
    box.classList.toggle("more-right", box.scrollLeft < hidden - 1);
  };
  new ResizeObserver(() => article.querySelectorAll(wide).forEach(mark)).observe(article);
  article.addEventListener("scroll", (event) => event.target.matches(wide) && mark(event.target), true);
});
