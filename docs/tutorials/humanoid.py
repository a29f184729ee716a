# %% [markdown]
# # A humanoid walks on a downloaded policy
#
# Unitree publishes a walking policy for its G1 humanoid: an LSTM of 64 units between an observation of 47 values and targets for twelve
# leg joints, 50 times a second. Here MuJoCo simulates the robot, rtrnn runs the policy, and the walk becomes a GIF, without a display.
#
# You bring the files: a folder with `unitree_g1.yaml` (gains, scales, rates), `mjcf/scene.xml` with its meshes, and the policy,
# `motion.pt` as published or exported to ONNX. Name the folder with `--robot`, or the one above it with the environment variable
# `RTRNN_MODELS`. Besides rtrnn it takes `pip install mujoco pyyaml pillow` and what reads the policy: `'rtrnn[torch]'` or `'rtrnn[onnx]'`.

# %% tags=["remove-cell"]
import argparse
import json
import os
from pathlib import Path

options_parser = argparse.ArgumentParser()
options_parser.add_argument("--quick", action="store_true", help="a small run, for tests")
options_parser.add_argument("--output", type=Path, help="a folder for the pictures and the figures as JSON")
options_parser.add_argument("--robot", type=Path, default=Path(os.environ.get("RTRNN_MODELS", ".")) / "unitree_g1")
options_parser.add_argument("--policy", help="the policy's file in that folder", default="motion.pt")
options, _ = options_parser.parse_known_args()
results = {}
here = (options.robot / "unitree_g1.yaml").is_file() and (options.robot / options.policy).is_file()
if not here:
    print(f"{options.robot} has no unitree_g1.yaml and {options.policy}: see above for what to bring")

# %%
# Without a display MuJoCo draws through EGL, on a GPU or in software. It reads this when it is imported.
os.environ.setdefault("MUJOCO_GL", "egl")

import matplotlib.pyplot as plt
import mujoco
import numpy as np
import yaml
from PIL import Image

import rtrnn
from rtrnn.bench import measure
from rtrnn.bench.engines import Native, Prepared, Step
from rtrnn.demo.figure import STYLE

plt.rcParams.update(STYLE)
SECONDS = 2.0 if options.quick else 10.0
FRAMES_PER_SECOND = 2 if options.quick else 10
SIZE = (120, 160) if options.quick else (240, 320)  # pixels, height and width
GAIT_PERIOD = 0.8  # s: the policy is told the phase of its steps

# %% [markdown]
# ## The policy
#
# `rtrnn.load` knows the file by its content. A TorchScript policy that keeps `hidden_state` and `cell_state` in buffers becomes a network
# whose Stream carries them.

# %%
if here:
    model = rtrnn.load(options.robot / options.policy)
    print(model.summary())

# %% [markdown]
# ## The robot
#
# The observation, in this order: angular velocity of the base, gravity as the base feels it, the commanded velocity, joint angles and
# velocities, the last action, and the sine and cosine of the gait's phase. The action moves the joints' targets, and a
# proportional-derivative law makes torques of them at every physics step.


# %%
class Robot:
    def __init__(self, folder):
        settings = yaml.safe_load((folder / "unitree_g1.yaml").read_text())
        self.settings = {name: np.float32(value) if isinstance(value, list) else value for name, value in settings.items()}
        self.model = mujoco.MjModel.from_xml_path(str(folder / "mjcf" / "scene.xml"))
        self.model.opt.timestep = settings["simulation_dt"]
        self.data = mujoco.MjData(self.model)
        self.action = np.zeros(settings["num_actions"], np.float32)
        self.target = self.settings["default_angles"].copy()

    def move(self):
        """The physics up to the next control step."""
        s, data = self.settings, self.data
        for _ in range(s["control_decimation"]):
            data.ctrl[:] = s["kps"] * (self.target - data.qpos[7:]) - s["kds"] * data.qvel[6:]
            mujoco.mj_step(self.model, data)

    def observation(self, step, command):
        s, data = self.settings, self.data
        phase = 2 * np.pi * (step * s["control_decimation"] * s["simulation_dt"] % GAIT_PERIOD) / GAIT_PERIOD
        parts = [
            data.qvel[3:6] * s["ang_vel_scale"],
            self.gravity(),
            command * s["cmd_scale"],
            (data.qpos[7:] - s["default_angles"]) * s["dof_pos_scale"],
            data.qvel[6:] * s["dof_vel_scale"],
            self.action,
            [np.sin(phase), np.cos(phase)],
        ]
        return np.concatenate(parts).astype(np.float32)

    def gravity(self):
        """The direction of gravity in the base's frame, from its quaternion; upright it is (0, 0, -1)."""
        w, x, y, z = self.data.qpos[3:7]
        return np.array([2 * (w * y - x * z), -2 * (y * z + w * x), 1 - 2 * (w * w + z * z)])

    def act(self, action):
        self.action = action
        self.target = action * self.settings["action_scale"] + self.settings["default_angles"]


# %% [markdown]
# ## The pictures
#
# The camera follows the robot. Shadows and reflections are left out: drawn in software they take most of the time.


# %%
class Camera:
    def __init__(self, model):
        model.vis.quality.offsamples = 0 if options.quick else 4
        self.renderer = mujoco.Renderer(model, *SIZE)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self.renderer.scene.flags[flag] = False
        self.view = mujoco.MjvCamera()
        self.view.distance, self.view.azimuth, self.view.elevation = 2.0, 120, -10

    def picture(self, data):
        self.view.lookat[:] = (data.qpos[0], data.qpos[1], 0.62)
        self.renderer.update_scene(data, self.view)
        return self.renderer.render().copy()


def camera_of(model):
    """None where the machine cannot draw: the walk is still worth its plots."""
    try:
        return Camera(model)
    except Exception as error:  # whatever the driver has to say
        print(f"no pictures: MuJoCo cannot draw here with MUJOCO_GL={os.environ['MUJOCO_GL']} ({error})")
        return None


# %% [markdown]
# ## The walk
#
# The loop of a real robot looks the same: observe, `step`, send the action, and `prepare()` the next step while the robot moves.


# %%
def walk(folder, model, command=(0.5, 0.0, 0.0)):
    robot, stream = Robot(folder), model.stream()
    camera = camera_of(robot.model)
    rate = 1 / (robot.settings["control_decimation"] * robot.settings["simulation_dt"])
    log, frames = {name: [] for name in ("time", "position", "gravity", "action")}, []
    for step in range(1, round(SECONDS * rate) + 1):
        robot.move()
        observation = robot.observation(step, np.float32(command))
        robot.act(stream.step(observation))
        stream.prepare()
        for name, value in (
            ("time", robot.data.time),
            ("position", robot.data.qpos[:3].copy()),
            ("gravity", robot.gravity()),
            ("action", robot.action),
        ):
            log[name].append(value)
        if camera and step % round(rate / FRAMES_PER_SECOND) == 0:
            frames.append(camera.picture(robot.data))
    return {name: np.array(values) for name, values in log.items()}, frames


if here:
    log, frames = walk(options.robot, model)
    upright = -log["gravity"][:, 2]
    distance = float(log["position"][-1, 0] - log["position"][0, 0])
    results |= {
        "distance": distance,
        "least_upright": float(upright.min()),
        "lowest": float(log["position"][:, 2].min()),
        "actions": log["action"].tolist(),
        "frames": len(frames),
    }
    print(f"{distance:.2f} m in {SECONDS:g} s; never tilted by more than {np.degrees(np.arccos(upright.min())):.1f} degrees")

# %% [markdown]
# ## What it looked like


# %%
def strip(frames, count=8):
    """The last frames side by side, with less of what is left and right of the robot."""
    aside = frames[0].shape[1] // 4
    return np.concatenate([frame[:, aside:-aside] for frame in frames[-count:]], axis=1)


def keep(figure, name):
    if options.output:
        figure.savefig(options.output / f"{name}.png")


if here and frames:
    if options.output:
        images = [Image.fromarray(frame).quantize(64) for frame in frames]
        images[0].save(options.output / "walk.gif", save_all=True, append_images=images[1:], duration=1000 // FRAMES_PER_SECOND, loop=0)
    figure, axes = plt.subplots(figsize=(11, 2.5), layout="constrained")
    axes.imshow(strip(frames))
    axes.set_axis_off()
    axes.set_title(f"The last steps of the walk, {1 / FRAMES_PER_SECOND:g} s apart")
    keep(figure, "walk")

# %%
if here:
    figure, (above, below) = plt.subplots(2, 1, figsize=(11, 5), sharex=True, layout="constrained")
    joints = ("hip pitch", "knee", "ankle pitch")
    for joint, column, color in zip(joints, (0, 3, 4), ("#1f6fb4", "#b5651d", "#2d8577"), strict=True):
        above.plot(log["time"], log["action"][:, column], color=color, lw=1.3, label=f"left {joint}")
        above.plot(log["time"], log["action"][:, column + 6], color=color, lw=1.0, ls=(0, (2, 2)), label=f"right {joint}")
    above.set(ylabel="action")
    above.set_title("What the policy asks of the legs")
    above.legend(ncols=3, fontsize=9, loc="upper center", bbox_to_anchor=(0.72, 1.2))
    below.plot(log["time"], log["position"][:, 2], color="#22272e", lw=1.4)
    below.set(xlabel="time (s)", ylabel="height of the base (m)", ylim=(0.74, 0.8), xlim=(0, min(SECONDS, 4)))
    below.set_title("How evenly it walks")
    keep(figure, "legs")

# %% [markdown]
# ## How much of the 20 ms between two actions it takes

# %%
if here:
    report = measure([Step(model), Prepared(model), Native(model)], seconds=0.4 if options.quick else 3)
    for each in report.engines:
        print(f"{each.name:>30}: {each.median_ns / 1000:5.2f} us")
    results["ns"] = {each.name: each.median_ns for each in report.engines}

# %% tags=["remove-cell"]
if options.output:
    (options.output / "results.json").write_text(json.dumps(results, indent=1))
