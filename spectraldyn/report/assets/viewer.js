"use strict";
(() => {
  const structures = JSON.parse(document.getElementById("structures").textContent);
  const place = document.getElementById("viewer");
  const choice = document.getElementById("structure");
  const frame = document.getElementById("frame");
  const play = document.getElementById("play");
  const told = document.getElementById("told");
  let viewer = null;
  try {
    viewer = $3Dmol.createViewer(place, { backgroundColor: "white" });
  } catch (error) {
    viewer = null;
  }
  if (!viewer) {
    document.getElementById("controls").hidden = true;
    place.textContent = "This browser shows no 3-D pictures (WebGL is switched off). The PDB files are in the folder states.";
    return;
  }
  let timer = null;
  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  };
  const turnTo = (number) => {
    frame.value = number;
    told.textContent = `frame ${number + 1} of ${Number(frame.max) + 1}`;
    viewer.setFrame(number).then(() => viewer.render());
  };
  const show = () => {
    stop();
    const models = structures[choice.value].models;
    viewer.removeAllModels();
    viewer.addModelsAsFrames(models.map((model, k) => `MODEL ${k + 1}\n${model}\nENDMDL`).join("\n"), "pdb");
    viewer.setStyle({}, { stick: { radius: 0.15 }, cartoon: { color: "spectrum", opacity: 0.8 } });
    if (viewer.getModel().selectedAtoms({}).length > 300) {
      viewer.setStyle({}, { cartoon: { color: "spectrum" } });
      viewer.setStyle({ hetflag: true }, { stick: { radius: 0.15 } });
    }
    viewer.zoomTo();
    frame.max = models.length - 1;
    frame.disabled = play.disabled = models.length < 2;
    turnTo(0);
  };
  choice.addEventListener("change", show);
  frame.addEventListener("input", () => {
    stop();
    turnTo(Number(frame.value));
  });
  play.addEventListener("click", () => {
    if (timer) {
      stop();
      return;
    }
    play.textContent = "Pause";
    timer = setInterval(() => turnTo((Number(frame.value) + 1) % (Number(frame.max) + 1)), 400);
  });
  window.spectraldynViewer = viewer;
  show();
})();
