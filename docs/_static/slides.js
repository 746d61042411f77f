// The slides of a lesson: formulas first, then reveal.js, and a countdown for every exercise.
(() => {
  const SMALLEST = 24; // pixels of a formula that had to be made smaller to fit

  // Formulas of the notes become MathML, which a browser draws without MathJax's style sheet: the speaker's window
  // has none.
  function notesToMathML() {
    document.querySelectorAll(".notes .math").forEach((formula) => {
      const display = formula.tagName === "DIV";
      formula.innerHTML = MathJax.tex2mml(formula.textContent.slice(2, -2), { display });
    });
  }

  function fitFormulas() {
    document.querySelectorAll(".body div.math").forEach((box) => {
      const size = parseFloat(getComputedStyle(box).fontSize);
      const formula = box.querySelector("mjx-math");
      const ratio = formula ? box.clientWidth / formula.getBoundingClientRect().width : 1;
      if (ratio < 1) box.style.fontSize = `${Math.max(SMALLEST, Math.floor(size * ratio))}px`;
    });
  }

  class Countdown {
    constructor(box) {
      [this.time, this.start, this.resetButton, this.said] = ["time", "start", "reset", "said"].map((part) =>
        box.querySelector(`.countdown__${part}`));
      this.box = box;
      this.total = 60 * Number(box.dataset.minutes);
      this.start.addEventListener("click", () => this.toggle());
      this.resetButton.addEventListener("click", () => this.reset());
      // reveal.js would take the space bar for "next slide"
      box.addEventListener("keydown", (event) => {
        if (event.key === " " || event.key === "Enter") event.stopPropagation();
      });
      this.reset();
    }

    toggle() {
      if (this.timer) this.pause();
      else if (this.left > 0) this.run();
    }

    run() {
      const end = Date.now() + 1000 * this.left;
      this.timer = setInterval(() => {
        this.left = Math.max(0, Math.ceil((end - Date.now()) / 1000));
        if (this.left === 0) this.finish();
        this.show();
      }, 250);
      this.show();
    }

    pause() {
      clearInterval(this.timer);
      this.timer = null;
      this.show();
    }

    reset() {
      this.left = this.total;
      this.said.textContent = "";
      this.pause();
    }

    finish() {
      this.pause();
      this.said.textContent = "Time is up";
    }

    show() {
      this.time.textContent = `${Math.floor(this.left / 60)}:${String(this.left % 60).padStart(2, "0")}`;
      this.start.textContent = this.timer ? "Pause" : "Start";
      this.box.style.setProperty("--left", this.left / this.total);
      this.box.classList.toggle("is-over", this.left === 0);
    }
  }

  function addCountdowns() {
    const countdowns = new Map();
    document.querySelectorAll(".countdown").forEach((box) => countdowns.set(box, new Countdown(box)));
    const here = () => countdowns.get(Reveal.getCurrentSlide().querySelector(".countdown"));
    Reveal.addKeyBinding({ keyCode: 84, key: "T", description: "Start or pause the countdown" }, () => here()?.toggle());
    Reveal.addKeyBinding({ keyCode: 82, key: "R", description: "Reset the countdown" }, () => here()?.reset());
  }

  async function begin() {
    await MathJax.startup.promise;
    notesToMathML();
    document.body.classList.add("is-measured"); // all slides are laid out
    await MathJax.typesetPromise([document.querySelector(".slides")]);
    fitFormulas();
    document.body.classList.remove("is-measured");
    await Reveal.initialize({
      width: 1280,
      height: 720,
      margin: 0,
      maxScale: 4,
      center: false,
      hash: true,
      transition: "none",
      backgroundTransition: "none",
      navigationMode: "linear",
      slideNumber: "c/t",
      scrollActivationWidth: null,
      pdfSeparateFragments: false,
      plugins: [RevealNotes],
    });
    addCountdowns();
    window.slidesReady = true;
  }

  begin();
})();
