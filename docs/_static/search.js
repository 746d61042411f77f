/* The page of results. Entries of the glossary come first, then names of the package and sections, then pages by their
   words, each with the section that says most about it. All of it is found in Sphinx's own index and in the glossary,
   which docs/website/glossary.py hands on with the other names of its terms. */
"use strict";
{
  // The same word, as it is written in Britain and in America
  const SPELLINGS = [
    [/([iy])[sz](e[drs]?|ers|ing|ations?)\b/g, "$1s$2", "$1z$2"],
    [/(behavi|col|fav|neighb)ou?r/g, "$1our", "$1or"],
    [/(labe|mode|signa|trave)ll?(ed|ing)\b/g, "$1ll$2", "$1l$2"],
    [/cent(?:re|er)(s?)\b/g, "centre$1", "center$1"],
    [/gr[ae]y/g, "grey", "gray"],
  ];
  const BRITISH = 1, AMERICAN = 2;
  const stemmer = new Stemmer();
  const pages = new Map(); // documents that were fetched, by address

  const respelt = (text, as) => SPELLINGS.reduce((so, rule) => so.replaceAll(rule[0], rule[as]), text.toLowerCase());
  const folded = (text) => respelt(text.normalize("NFKD").replace(/\p{Mark}/gu, ""), AMERICAN);
  const wordsOf = (text) => splitQuery(folded(text)).map((word) => stemmer.stemWord(word));
  const isPart = (asked, word) => word === asked || (asked.length > 2 && word.startsWith(asked));

  /* Return how well a name fits the words asked for: 3 if it is they, else above 1 if it holds all of them, else 0. */
  function fit(name, asked) {
    const words = wordsOf(name);
    if (words.join("") === asked.join("")) return 3;
    return asked.every((one) => words.some((word) => isPart(one, word))) ? 1 + asked.length / words.length : 0;
  }

  const byFit = (results) => results.filter((result) => result.fit > 0).sort((a, b) => b.fit - a.fit);
  const addressOf = (page) => page + DOCUMENTATION_OPTIONS.LINK_SUFFIX;
  // lessons come before other pages, and those with the solutions last
  const lead = (page) => (page.startsWith("lessons/") ? 0.2 : page.startsWith("exercises/") ? -0.2 : 0);

  /* Return the entries whose term, or another name of it, fits. */
  function glossaryEntries(asked) {
    return byFit(window.courseGlossary.map(([term, anchor, also, said]) => ({
      fit: Math.max(...[term, ...also].map((name) => fit(name, asked))),
      title: term, where: "Glossary", said, also, address: `glossary.html#${anchor}`,
    })));
  }

  /* Return the sections whose headlines fit the words, or the glossary's name for them. */
  function sections(asked, terms) {
    const found = [];
    for (const [title, places] of Object.entries(Search._index.alltitles)) {
      const bare = title.replace(/^(Exercise )?\d+ · /, "").replace(/ \([^)]*minutes?\)$/, "");
      const best = Math.max(fit(bare, asked), ...terms.map((term) => 0.9 * fit(bare, wordsOf(term))));
      for (const [file, id] of best ? places : []) {
        const page = Search._index.docnames[file], whole = Search._index.titles[file];
        found.push({
          fit: best + lead(page), title, where: whole === title ? "" : whole,
          address: addressOf(page) + (id ? `#${id}` : ""),
        });
      }
    }
    return byFit(found);
  }

  /* Return the names of the package whose last part is the word asked for. */
  function packageNames(query) {
    const name = query.trim().toLowerCase();
    return Search.performObjectSearch(name, new Set([name]))
      .filter((result) => result[1].toLowerCase().split(".").at(-1) === name)
      .map(([page, title, anchor]) => ({ title, where: "", address: addressOf(page) + anchor }));
  }

  /* Return the pages that hold the words, in either spelling. */
  function fullTexts(query) {
    const scores = new Map();
    for (const text of new Set([query, respelt(query, BRITISH), respelt(query, AMERICAN)])) {
      const [, searched, excluded] = Search._parseQuery(text);
      for (const [page, title, , , score] of Search.performTermsSearch(searched, excluded)) {
        const fit = score + lead(page);
        if (page === "glossary" || scores.get(page)?.fit >= fit) continue;
        scores.set(page, { fit, title, where: "", address: addressOf(page), isPage: true });
      }
    }
    return byFit([...scores.values()]);
  }

  /* Return the results for a query, the best first, each address once. */
  function resultsFor(query) {
    const asked = wordsOf(query);
    if (!asked.length) return [];
    const entries = glossaryEntries(asked), exact = entries.filter((entry) => entry.fit === 3);
    const first = entries.slice(0, exact.length ? exact.length + 2 : 5);
    const headlines = sections(asked, exact.map((entry) => entry.title)).slice(0, 12);
    const found = [...first, ...packageNames(query), ...headlines, ...entries.slice(0, 12), ...fullTexts(query)];
    const listed = new Set();
    return found.filter(({ address }) => !listed.has(address) && listed.add(address));
  }

  function fetched(address) {
    if (!pages.has(address)) {
      const load = async () => new DOMParser().parseFromString(await (await fetch(address)).text(), "text/html");
      pages.set(address, load());
    }
    return pages.get(address);
  }

  /* Return the text of a section without those below it; `prose` leaves out cells with code. */
  function textOf(section, prose) {
    const others = "section, script, style, h1, h2, h3, h4, .lesson-buttons, div.math" + (prose ? ", .cell" : "");
    const parts = [...section.children].filter((part) => !part.matches(others));
    const text = parts.map((part) => part.textContent).join(" ");
    return text.replace(/\\\((.*?)\\\)/g, (_, formula) => formula.replaceAll("\\", "")).replace(/\s+/g, " ").trim();
  }

  const countIn = (text, asked) => {
    const counts = asked.map((word) => text.split(word).length - 1);
    return counts.every(Boolean) ? counts.reduce((sum, count) => sum + count) : 0;
  };

  /* Return the section of a page that says most about the words and is not listed yet; prose counts more than code. */
  function bestSection(page, asked, isListed) {
    let best = null, most = 0;
    page.querySelectorAll("main section[id]").forEach((section) => {
      if (isListed(section.id)) return;
      const count = countIn(folded(textOf(section)), asked) + 3 * countIn(folded(textOf(section, true)), asked);
      if (count > most) [best, most] = [section, count];
    });
    return best;
  }

  /* Return the part of a text around the first of the words. */
  function excerpt(text, asked) {
    const places = asked.map((word) => folded(text).indexOf(word)).filter((place) => place >= 0);
    const first = places.length ? Math.min(...places) : 0, from = first > 120 ? text.indexOf(" ", first - 100) : 0;
    const cut = text.slice(from, from + 240), isWhole = from + 240 >= text.length;
    return (from ? "…" : "") + (isWhole ? cut : cut.replace(/\S*$/, "…"));
  }

  /* Say what the section of a result says; one found by the words of its page leads to a section from now on. */
  async function fill(item, result, asked) {
    const [address, anchor] = result.address.split("#");
    const page = await fetched(address), link = item.querySelector("a");
    const isListed = (id) => Search.output.querySelector(`a[href="${address}#${id}"]`);
    const best = result.isPage && bestSection(page, asked, isListed);
    if (best) {
      link.href = `${address}#${best.id}`;
      link.textContent = best.querySelector("h1, h2, h3, h4").firstChild.textContent;
      item.querySelector(".search-where").textContent = best.matches("section section") ? result.title : "";
    }
    const section = best || page.getElementById(anchor) || page.querySelector("main section");
    const prose = textOf(section, true), all = textOf(section);
    const said = !prose || (best && !countIn(folded(prose), asked)) ? all : prose;
    const below = section.querySelector("section") ?? section;
    item.querySelector(".context").textContent = excerpt(said || textOf(below, true), asked);
  }

  function element(name, className, text) {
    const made = document.createElement(name);
    made.className = className;
    made.textContent = text;
    return made;
  }

  function itemOf(result) {
    const item = document.createElement("li"), link = element("a", "", result.title);
    link.href = result.address;
    const also = result.also?.length ? ` Also: ${result.also.join(", ")}.` : "";
    const context = element("p", "context", (result.said ?? "") + also);
    item.append(link, element("span", "search-where", result.where), context);
    return item;
  }

  Search.query = (query) => {
    const results = resultsFor(query), asked = wordsOf(query);
    const byItem = new Map(results.map((result) => [itemOf(result), result]));
    const inView = new IntersectionObserver((seen) => seen.filter((one) => one.isIntersecting).forEach(({ target }) => {
      inView.unobserve(target);
      fill(target, byItem.get(target), asked).catch(() => {}); // a page on a disk may not be fetched
    }));
    Search.stopPulse();
    Search.title.textContent = "Results";
    Search.status.setAttribute("role", "status");
    Search.status.textContent = `${results.length || "No"} result${results.length === 1 ? "" : "s"} for “${query}”`;
    for (const [item, result] of byItem) {
      Search.output.append(item);
      if (!result.said) inView.observe(item);
    }
  };
}
