"""The script of a page: the slider, the colour scheme, and lighting up a symbol everywhere. The page is whole without it."""

SCRIPT = """
(function () {
  "use strict";
  var root = document.documentElement, all = function (q) { return Array.prototype.slice.call(document.querySelectorAll(q)); };

  var toggle = document.getElementById("scheme");
  var dark = function () {
    return root.dataset.scheme ? root.dataset.scheme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  var name = function () { toggle.textContent = dark() ? "Light" : "Dark"; };
  toggle.hidden = false;
  toggle.addEventListener("click", function () { root.dataset.scheme = dark() ? "light" : "dark"; name(); });
  name();

  var sticky = "";
  var light = function (symbol) {
    all(".lit").forEach(function (e) { e.classList.remove("lit"); });
    if (symbol) {
      all("[data-symbol]").forEach(function (e) { if (e.dataset.symbol === symbol) { e.classList.add("lit"); } });
    }
  };
  var over = function (event) {
    var e = event.target.closest ? event.target.closest("[data-symbol]") : null;
    light(e ? e.dataset.symbol : sticky);
  };
  document.addEventListener("mouseover", over);
  all(".legend button").forEach(function (button) {
    button.addEventListener("click", function () {
      sticky = sticky === button.dataset.symbol ? "" : button.dataset.symbol;
      all(".legend button").forEach(function (b) { b.setAttribute("aria-pressed", String(b.dataset.symbol === sticky)); });
      light(sticky);
    });
  });

  var data = document.getElementById("numbers"), slider = document.getElementById("step");
  if (data && slider) {
    var flow = JSON.parse(data.textContent), out = document.getElementById("step-text");
    var frames = all(".frame"), cells = all("[data-row]"), labels = all("[data-label]"), times = all("[data-time]");
    var show = function (t) {
      var first = Math.max(1, Math.min(t - 1, flow.steps - frames.length + 1));
      var stepOf = function (e) { return e.dataset.slot === "live" ? t : first + Number(e.dataset.slot); };
      cells.forEach(function (e) {
        var row = flow.rows[e.dataset.row], step = stepOf(e) - 1, i = Number(e.dataset.element);
        if (e.tagName === "rect" || e.tagName === "I") {
          var s = row.strengths[step][i], colour = "var(--" + (s < 0 ? "cool" : "warm") + ")";
          if (e.tagName === "rect") { e.style.fill = colour; e.style.fillOpacity = Math.abs(s); }
          else { e.style.background = colour; e.style.opacity = Math.abs(s); }
        } else { e.textContent = row.texts[step][i]; }
      });
      labels.forEach(function (e) { e.textContent = e.dataset.label + "(" + (stepOf(e) + Number(e.dataset.lag)) + ")"; });
      times.forEach(function (e) { e.textContent = "t = " + stepOf(e); });
      frames.forEach(function (e) { e.classList.toggle("now", stepOf(e) === t); });
      slider.value = t;
      slider.setAttribute("aria-valuetext", "step " + t + " of " + flow.steps);
      out.textContent = "t = " + t + " of " + flow.steps;
    };
    slider.addEventListener("input", function () { show(Number(slider.value)); });
    document.getElementById("player").hidden = false;
    var asked = /[#&]t=(\\d+)/.exec(location.hash);
    show(asked ? Math.max(1, Math.min(flow.steps, Number(asked[1]))) : 1);
  }
  addEventListener("beforeprint", function () { all("details").forEach(function (e) { e.open = true; }); });
  root.dataset.ready = "yes";
})();
"""
