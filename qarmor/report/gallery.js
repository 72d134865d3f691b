"use strict";
// The gallery: a reader picks data set, attack, source, image and eps, and sees what was done and what each network makes of it.
(() => {
  const element = (tag, classes, text = "") => {
    const made = document.createElement(tag);
    made.className = classes;
    made.textContent = text;
    return made;
  };
  const drawn = (tag, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  const listed = (words) => (words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`);

  // Numbers travel as base64 of deflated bytes; each is unpacked once, when it is first looked at.
  const unpacked = new Map();
  const unpack = (text, Numbers) => {
    if (!unpacked.has(text)) {
      const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
      unpacked.set(text, new Response(stream).arrayBuffer().then((buffer) => new Numbers(buffer)));
    }
    return unpacked.get(text);
  };

  // Fills a canvas with an image (channels, height, width): colour(values of the channels at a pixel) gives red, green, blue.
  const paint = (canvas, [channels, height, width], at, colour) => {
    [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d");
    const picture = context.createImageData(width, height);
    const area = width * height;
    for (let pixel = 0; pixel < area; pixel += 1) {
      const values = Array.from({ length: channels }, (_, channel) => at(channel * area + pixel));
      picture.data.set([...colour(values), 255], 4 * pixel);
    }
    context.putImageData(picture, 0, 0);
  };
  const asItIs = (values) => (values.length === 3 ? values : [values[0], values[0], values[0]]);
  const between = (from, to, part) => from.map((value, i) => value + part * (to[i] - value));
  const asChange = ([low, even, high]) => (values) => {
    if (values.length === 3) return values.map((value) => 127.5 + 127.5 * value);
    return values[0] < 0 ? between(even, low, -values[0]) : between(even, high, values[0]);
  };

  // The probability of the true class against eps, with a mark at each eps and a line at the chosen one.
  const [WIDE, HIGH, LEFT, EDGE, FOOT] = [160, 60, 12, 5, 12];
  const curve = (eps, values, right, step) => {
    const [x, y] = [(one) => LEFT + (WIDE - EDGE - LEFT) * one / eps.at(-1), (one) => HIGH - FOOT - (HIGH - EDGE - FOOT) * one];
    const svg = drawn("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, "aria-hidden": "true" });
    const write = (words, at, down, anchor) => {
      svg.append(drawn("text", { x: at, y: down, "text-anchor": anchor }));
      svg.lastChild.textContent = words;
    };
    for (const level of [0, 1]) {
      svg.append(drawn("line", { x1: LEFT, x2: WIDE - EDGE, y1: y(level), y2: y(level), class: "level" }));
      write(level, LEFT - 5, y(level) + 3, "end");
    }
    write("0", LEFT, HIGH - 1, "middle");
    write("eps", (LEFT + WIDE) / 2, HIGH - 1, "middle");
    write(eps.at(-1), WIDE - EDGE + 2, HIGH - 1, "end");
    svg.append(drawn("line", { x1: x(eps[step]), x2: x(eps[step]), y1: 0, y2: y(0), class: "here" }));
    svg.append(drawn("polyline", { points: values.map((value, i) => `${x(eps[i])},${y(value)}`).join(" "), class: "path" }));
    values.forEach((value, i) => {
      const [cx, cy] = [x(eps[i]), y(value)];
      svg.append(right[i] ? drawn("circle", { cx, cy, r: 2.6, class: "right" })
        : drawn("path", { d: `M${cx - 2.6},${cy - 2.6}l5.2,5.2m0,-5.2l-5.2,5.2`, class: "wrong" }));
    });
    return svg;
  };

  const bars = (name, classes, values, said, label) => {
    const table = element("table", "");
    table.setAttribute("aria-label", `Class probabilities by ${name}`);
    classes.forEach((words, k) => {
      const row = table.insertRow();
      row.className = `${k === label ? "true" : ""} ${k === said ? (said === label ? "right" : "wrong") : ""}`;
      const head = element("th", "");
      head.scope = "row";
      head.append(element("span", "tell", `${k === label ? "▸" : ""}${k === said ? "●" : ""}`), words);
      head.title = words;
      const [track, bar] = [row.insertCell(), element("span", "bar")];
      bar.style.width = `${100 * values[k]}%`;
      track.append(bar);
      row.insertCell().textContent = values[k].toFixed(2);
      row.prepend(head);
    });
    return table;
  };

  const card = (one, classes, eps, label, step, white) => {
    const right = one.said[step] === label;
    const made = element("div", `answer${white ? " white" : ""}`);
    made.setAttribute("role", "group");
    made.setAttribute("aria-label", one.name);
    const head = element("p", "name");
    head.append(element("b", "", one.name), element("span", "soft", white ? " attacked itself" : ""));
    const verdict = element("p", "name");
    verdict.append(element("span", `verdict ${right ? "holds" : "fails"}`, `${right ? "✓" : "✗"} ${classes[one.said[step]]}`));
    const line = curve(eps, one.values.map((values) => values[label]), one.said.map((said) => said === label), step);
    made.append(head, verdict, line, bars(one.name, classes, one.values[step], one.said[step], label));
    return made;
  };

  const sentence = (answers, classes, label, step, eps, attempt) => {
    const wrong = answers.filter((one) => one.said[step] !== label);
    const cause = `${step ? `${attempt.attack} made on ${attempt.source}` : "No attack"}, eps ${eps[step]}, true class ${classes[label]}`;
    if (!wrong.length) return `${cause}: all ${answers.length} networks are right.`;
    const told = wrong.map((one) => `${one.name} says ${classes[one.said[step]]} (${one.values[step][one.said[step]].toFixed(2)})`);
    const rights = answers.filter((one) => !wrong.includes(one));
    const rest = rights.length > 1 ? " The others are right." : rights.map((one) => ` ${one.name} is right.`).join("");
    return `${cause}: ${wrong.length} of ${answers.length} networks wrong. ${listed(told)}.${rest}`;
  };

  const start = (gallery) => {
    const find = (selector) => gallery.querySelector(selector);
    const data = JSON.parse(find("script").textContent);
    const pick = Object.fromEntries(["set", "attack", "source", "eps"].map((name) => [name, find(`[data-pick=${name}]`)]));
    const chosen = { set: data.sets[0], attempt: data.sets[0].attempts[0], image: 0, eps: 0 };
    let turn = 0;

    const fill = (select, names, current) => {
      select.replaceChildren(...names.map((name, number) => new Option(name, number, name === current, name === current)));
      select.disabled = names.length < 2;
    };
    const grid = () => [0, ...chosen.attempt.eps];
    const step = () => {
      const far = grid().map((eps) => Math.abs(eps - chosen.eps));
      return far.indexOf(Math.min(...far));
    };
    const attacks = () => [...new Set(chosen.set.attempts.map((one) => one.attack))];
    const sources = () => chosen.set.attempts.filter((one) => one.attack === chosen.attempt.attack).map((one) => one.source);
    // The attempt of this attack on this source, or what comes nearest to it.
    const attemptOf = (attack, source) => {
      const same = chosen.set.attempts.filter((one) => one.attack === attack);
      return same.find((one) => one.source === source) ?? same[0] ?? chosen.set.attempts.find((one) => one.source === source) ?? chosen.set.attempts[0];
    };

    const offer = () => {
      fill(pick.attack, attacks(), chosen.attempt.attack);
      fill(pick.source, sources(), chosen.attempt.source);
      pick.eps.max = chosen.attempt.eps.length;
      pick.eps.value = step();
    };
    const offerImages = async () => {
      const { set } = chosen;
      const clean = set.shape && (await unpack(set.clean, Uint8Array));
      if (set !== chosen.set) return; // the reader has chosen again
      const size = set.shape && set.shape.reduce((a, b) => a * b);
      const made = set.images.map(({ index, label }, number) => {
        const [choice, radio] = [element("label", ""), element("input", "")];
        Object.assign(radio, { type: "radio", name: `${gallery.id}-image`, checked: number === chosen.image });
        radio.setAttribute("aria-label", `${set.classes[label]}, test image ${index}`);
        radio.addEventListener("change", () => { chosen.image = number; show(); });
        choice.append(radio);
        if (set.shape) {
          const canvas = element("canvas", "");
          paint(canvas, set.shape, (i) => clean[number * size + i], asItIs);
          choice.append(canvas);
        }
        choice.append(element("span", "", set.classes[label]));
        return choice;
      });
      find(".thumbs").replaceChildren(find(".thumbs legend"), ...made);
    };

    const pictures = (clean, changes) => {
      const { set, attempt, image } = chosen;
      find(".pictures").hidden = find(".key").hidden = !set.shape;
      if (!set.shape) return;
      const [at, eps, size] = [step(), grid()[step()], set.shape.reduce((a, b) => a * b)];
      const before = (i) => clean[image * size + i];
      const change = (i) => (at ? changes[((at - 1) * set.images.length + image) * size + i] / data.steps : 0);
      const label = set.classes[set.images[image].label];
      const canvas = (name, words) => {
        const found = find(`[data-picture=${name}]`);
        found.setAttribute("aria-label", words);
        return found;
      };
      paint(canvas("clean", `clean image of ${label}`), set.shape, before, asItIs);
      paint(canvas("change", at ? `what ${attempt.attack} changed` : "no change"), set.shape, change, asChange(data.colours));
      paint(canvas("attacked", `image of ${label} after the attack, eps ${eps}`), set.shape, (i) => before(i) + 255 * eps * change(i), asItIs);
      find(".amplified").textContent = at ? `, ${Number((0.5 / eps).toPrecision(2))} times amplified` : ": none";
      find(".key").style.visibility = at ? "" : "hidden";
      find(".plain-key").hidden = set.shape[0] === 3;
      find(".colour-key").hidden = set.shape[0] !== 3;
      [find(".low").textContent, find(".high").textContent] = [`−${eps}`, `+${eps}`];
    };

    const answers = (probabilities, predictions) => {
      const { set, attempt, image } = chosen;
      const [eps, count, classes, label] = [grid(), set.images.length, set.classes, set.images[image].label];
      const found = attempt.networks.map((name, m) => {
        const places = eps.map((_, e) => (m * eps.length + e) * count + image);
        const values = places.map((at) => classes.map((_, k) => probabilities[at * classes.length + k] / data.whole));
        return { name, values, said: places.map((at) => predictions[at]) };
      });
      find(".answers").replaceChildren(...found.map((one) => card(one, classes, eps, label, step(), one.name === attempt.source)));
      find(".said").textContent = sentence(found, classes, label, step(), eps, attempt);
      find(".flagged").textContent = attempt.flags.length ? `This attack is flagged ${attempt.flags.join(", ")}: see Flags.` : "";
    };

    const draw = async () => {
      const { set, attempt } = chosen;
      const now = (turn += 1);
      const pixels = set.shape ? [unpack(set.clean, Uint8Array), unpack(attempt.perturbation, Int8Array)] : [null, null];
      const numbers = [unpack(attempt.probabilities, Uint16Array), unpack(attempt.predictions, Uint16Array)];
      const [clean, changes, probabilities, predictions] = await Promise.all([...pixels, ...numbers]);
      if (now !== turn) return; // the reader has chosen again
      pictures(clean, changes);
      answers(probabilities, predictions);
    };
    const show = () => {
      const text = `eps ${grid()[step()]}`;
      pick.eps.setAttribute("aria-valuetext", text);
      find("output").textContent = grid()[step()];
      return draw().catch(fail);
    };
    const fail = (error) => {
      find(".room").hidden = true;
      find(".trouble").hidden = false;
      find(".trouble span").textContent = error.message;
    };
    const changed = () => { offer(); show(); };

    // Raises eps from 0, a value at a time, until the end or until the reader does something.
    const [play, PAUSE] = [element("button", "play"), 900];
    let timer = 0;
    const stop = () => {
      clearInterval(timer);
      timer = 0;
      play.textContent = "▶ raise eps";
    };
    const move = (number) => {
      pick.eps.value = number;
      chosen.eps = grid()[number];
      show();
    };
    play.type = "button";
    play.addEventListener("click", () => {
      if (timer) return stop();
      move(0);
      play.textContent = "■ stop";
      timer = setInterval(() => {
        move(step() + 1);
        if (step() === chosen.attempt.eps.length) stop();
      }, PAUSE);
    });
    for (const kind of ["input", "change"]) gallery.addEventListener(kind, stop);
    stop();
    find(".slide").append(play);

    pick.set.addEventListener("change", () => {
      const { attack, source } = chosen.attempt;
      chosen.set = data.sets[pick.set.value];
      chosen.attempt = attemptOf(attack, source);
      chosen.image = Math.min(chosen.image, chosen.set.images.length - 1);
      offerImages().then(changed).catch(fail);
    });
    pick.attack.addEventListener("change", () => { chosen.attempt = attemptOf(attacks()[pick.attack.value], chosen.attempt.source); changed(); });
    pick.source.addEventListener("change", () => { chosen.attempt = attemptOf(chosen.attempt.attack, sources()[pick.source.value]); changed(); });
    pick.eps.addEventListener("input", () => { chosen.eps = grid()[pick.eps.value]; show(); });

    if (!("DecompressionStream" in globalThis)) throw new Error("this browser is too old for it (it has no DecompressionStream).");
    chosen.eps = chosen.attempt.eps.reduce((best, eps) => (Math.abs(eps - 0.1) < Math.abs(best - 0.1) ? eps : best));
    fill(pick.set, data.sets.map((set) => set.name), chosen.set.name);
    offer();
    find(".room").hidden = false;
    offerImages().then(show).catch(fail);
  };

  for (const gallery of document.querySelectorAll(".gallery")) {
    gallery.querySelector(".idle").hidden = true;
    try {
      start(gallery);
    } catch (error) {
      gallery.querySelector(".trouble").hidden = false;
      gallery.querySelector(".trouble span").textContent = error.message;
    }
  }
})();
