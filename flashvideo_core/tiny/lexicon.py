"""The words and sentence forms of the captions, as data.

In a text of alternatives a comma separates them and the plainest one comes first.
"""

# Adjectives, nouns and adverbs, by attribute and value.
WORDS = {
    "shape": {
        "circle": "circle, ball, disc, disk, dot, sphere, orb, round shape, circular shape, round ball",
        "square": "square, box, block, cube, tile, square shape, square block",
        "triangle": "triangle, pyramid, wedge, triangular shape, three-sided shape",
        "star": "star, pentagram, five-pointed star, star shape, pointed star",
    },
    "color": {
        "red": "red, scarlet, crimson, ruby, cherry red, bright red, red-colored",
        "orange": "orange, tangerine, orange-colored, bright orange",
        "yellow": "yellow, gold, golden, lemon, lemon yellow, bright yellow",
        "green": "green, lime, emerald, lime green, grass green, bright green",
        "cyan": "cyan, turquoise, aqua, teal, light blue, sky blue, pale blue",
        "blue": "blue, azure, cobalt, sapphire, royal blue, bright blue, blue-coloured",
        "purple": "purple, violet, lilac, lavender, amethyst, mauve",
        "white": "white, snow white, ivory, pure white, bright white",
    },
    "size": {
        "small": "small, little, tiny, mini, very small",
        "medium": "medium, medium-sized, mid-sized, average-sized, middle-sized",
        "large": "large, big, huge, giant, enormous, very big",
    },
    "texture": {
        "plain": "plain, solid, flat, uniform, smooth",
        "striped": "striped, stripy, stripey, banded",
        "dotted": "dotted, spotted, polka-dot, dotty, speckled",
        "checkered": "checkered, checked, chequered, checkerboard, chessboard",
    },
    "background": {
        "dark": "dark, black, night, very dark",
        "grey": "grey, gray, silver, concrete",
        "white": "white, pale, snowy, light, bright white",
        "navy": "navy, navy blue, dark blue, deep blue, midnight blue, blue",
        "maroon": "maroon, dark red, burgundy, wine red, deep red, red",
        "forest": "forest, forest green, dark green, deep green, pine green, green",
        "sand": "sand, sandy, beige, tan, sand-colored, light brown, brown",
    },
    "background_texture": {
        "plain": "plain, solid, clean, flat, uniform, simple",
        "noisy": "noisy, rough, grainy, textured, mottled",
        "gradient": "gradient, shaded, fading, graded",
        "striped": "striped, stripy, lined, banded",
    },
    "speed": {
        "very low": "very slowly, extremely slowly, barely, at a crawl, at very low speed",
        "low": "slowly, gently, at low speed, at a slow pace, slow",
        "medium": "steadily, at medium speed, at a normal pace, at a moderate pace, evenly",
        "high": "fast, quickly, rapidly, at high speed, quick",
        "very high": "very fast, very quickly, at full speed, extremely fast, at very high speed",
    },
}
GENERIC = "shape, object, thing, figure, form"  # in place of a shape that is not mentioned
WITH = {  # a texture said after the noun
    "plain": "without a pattern, with no pattern, of one color, in a single color",
    "striped": "with stripes, with bands, with a striped pattern, covered in stripes",
    "dotted": "with dots, with spots, with polka dots, with a dotted pattern, covered in dots",
    "checkered": "with checks, with a checkerboard pattern, with a checkered pattern, with a chess pattern",
}
NICE = "nice, beautiful, cute, pretty, lovely, shiny, colorful, colourful, single, lonely, cool, geometric"

# Verbs as "base/third person/gerund". Those of MOVE take a direction; haste adds verbs that imply a speed.
MOVE = (
    "move/moves/moving, drift/drifts/drifting, slide/slides/sliding, glide/glides/gliding, travel/travels/traveling, "
    "go/goes/going, float/floats/floating, fly/flies/flying, head/heads/heading, shift/shifts/shifting, "
    "roll/rolls/rolling, run/runs/running, sail/sails/sailing, walk/walks/walking, move/is moving/moving"
)
HASTE = {
    "very low": "creep/creeps/creeping, crawl/crawls/crawling, inch/inches/inching",
    "low": "creep/creeps/creeping, crawl/crawls/crawling",
    "medium": "cruise/cruises/cruising",
    "high": "race/races/racing, rush/rushes/rushing, speed/speeds/speeding",
    "very high": "zoom/zooms/zooming, dash/dashes/dashing, shoot/shoots/shooting",
}
WAYS = {
    "left": "left, to the left, leftward, leftwards, toward the left, towards the left, to the left side, "
    "from right to left, from the right to the left, from the right side to the left side",
    "right": "right, to the right, rightward, rightwards, toward the right, towards the right, to the right side, "
    "from left to right, from the left to the right, from the left side to the right side",
    "up": "up, upward, upwards, to the top, toward the top, towards the top, from bottom to top, from below, "
    "from the bottom to the top",
    "down": "down, downward, downwards, to the bottom, toward the bottom, towards the bottom, from top to bottom, "
    "from above, from the top to the bottom",
}
VERBS = {  # complete without a direction
    "up": "rise/rises/rising, climb/climbs/climbing, ascend/ascends/ascending, rise/rises up/rising up, "
    "lift/lifts up/lifting up, soar/soars/soaring, climb/climbs up/climbing up",
    "down": "fall/falls/falling, sink/sinks/sinking, descend/descends/descending, drop/drops/dropping, "
    "fall/falls down/falling down, sink down/sinks down/sinking down, come down/comes down/coming down",
    "still": "stay still/stays still/staying still, stand still/stands still/standing still, "
    "remain still/remains still/remaining still, sit still/sits still/sitting still, "
    "not move/does not move/not moving, stay in place/stays in place/staying in place, rest/rests/resting, "
    "hold still/is motionless/motionless, "
    "stay put/stays put/staying put, be static/is static/static, be stationary/is stationary/stationary, "
    "hang motionless/hangs motionless/hanging motionless, not move/doesn't move/without moving, "
    "remain in place/remains in place/remaining in place, not move at all/is not moving/not moving at all",
    "bouncing": "bounce/bounces/bouncing, hop/hops/hopping, jump/jumps/jumping, leap/leaps/leaping, "
    "bounce up and down/bounces up and down/bouncing up and down, "
    "jump up and down/jumps up and down/jumping up and down, hop up and down/hops up and down/hopping up and down, "
    "bob up and down/bobs up and down/bobbing up and down, "
    "bounce/bounces on the floor/bouncing on the floor, bounce/is bouncing/bouncing around, "
    "hop/hops on the spot/hopping on the spot, bounce/bounces again and again/bouncing repeatedly",
}
MOVER = {  # the motion as an adjective
    "left": "left-moving, leftward-moving, left-drifting, left-going, left-bound",
    "right": "right-moving, rightward-moving, right-drifting, right-going, right-bound",
    "up": "rising, ascending, climbing, upward-moving, upward-floating",
    "down": "falling, sinking, descending, dropping, downward-moving",
    "still": "motionless, static, stationary, still, unmoving, resting, immobile",
    "bouncing": "bouncing, hopping, jumping, bouncy",
}
MOTION_NOUN = {
    "left": "motion to the left, leftward motion, leftward movement, movement to the left",
    "right": "motion to the right, rightward motion, rightward movement, movement to the right",
    "up": "upward motion, upward movement, motion to the top",
    "down": "downward motion, downward movement, motion to the bottom",
    "still": "no motion, no movement, without motion, without any movement",
    "bouncing": "bouncing motion, bouncing movement, hopping motion, jumping motion",
}

# Sentence forms. Fields: np "a small red ball", bare "ball", looks "red and small" (may be empty), does/doing/do the
# verb, on "on a dark wall" (may be empty), ground "the background is dark" (may be empty), mover/motion as above.
OPENERS = (
    "a video of, a clip of, an animation of, show me, show, imagine, a short video of, a short clip showing, make, "
    "create, generate, this is, there is, i want to see, we see, you can see, please show, a picture of, footage of, "
    "a movie of, here is, draw, render, animate, a scene with, i would like, give me"
)
THAT = "an animation where, a video in which, a scene where, a clip where, imagine that, we see how, in this video, now"
MOVING = (
    "{np} {does} {on}",
    "{np} {on} {does}",
    "{np} {doing} {on}",
    "{np} is {doing} {on}",
    "{opener} {np} {doing} {on}",
    "{opener} {np} that {does} {on}",
    "{opener} {np} which {does}. {ground}",
    "{that} {np} {does} {on}",
    "{on}, {np} {does}",
    "{on} {np} {doing}",
    "{doing} {on}: {np}",
    "{doing}, {np} {on}",
    "{np}, {doing}, {on}",
    "{np}, {on}, {doing}",
    "{np} {does}. {ground}",
    "{ground}. {np} {does}",
    "{ground} and {np} {does}",
    "{np} {does} while {ground}",
    "there is {np}. it {does}. {ground}",
    "there is {np} {on}. it {does}",
    "{np}. {motion}. {ground}",
    "{np} in {motion} {on}",
    "{opener} {np} with {motion} {on}",
    "watch {np} {do} {on}",
    "make {np} {do} {on}",
    "let {np} {do} {on}",
    "see how {np} {does} {on}",
    "the {bare} is {looks} and it {does} {on}",
    "the {bare} is {looks} and {does}. {ground}",
    "the {bare} {does} {on}. it is {looks}",
    "there is a {bare}. it is {looks}. it {does}. {ground}",
    "there is a {bare} {on}. the {bare} is {looks} and {doing}",
    "a {bare}, {looks}, {doing}, {on}",
    "{bare}, {looks}, {doing}, {ground}",
    "{bare} {looks} {doing} {on}",
    "a {bare} that is {looks} {does} {on}",
    "a {bare}, which is {looks}, {does} {on}",
    "a {bare} {does} {on}, the {bare} being {looks}",
    "{opener} a {bare}. the {bare} is {looks} in color. it {does}. {ground}",
    "the video shows a {bare}. the {bare} is {looks}. in the video the {bare} {does} across the screen. {ground}",
    "in the scene, {np} can be seen. it {does} as the camera stays where it was. {ground}",
    "the clip begins with {np} {on}. then the {bare} {does} until the end of the clip",
)
AS_ADJECTIVE = (
    "{mover_np} {on}",
    "{opener} {mover_np} {on}",
    "{on}, {mover_np}",
    "{mover_np}. {ground}",
    "there is {mover_np} {on}",
    "a {mover} {bare} that is {looks} {on}",
)
NO_MOTION = (
    "{np} {on}",
    "{opener} {np} {on}",
    "{on}, {np}",
    "there is {np}. {ground}",
    "the {bare} is {looks}. {ground}",
    "a {bare}, {looks}, {on}",
    "{ground} and in front of it is {np}",
)
ENDINGS = (
    "please, in high quality, in a cartoon style, looping animation, for two seconds, "
    "high resolution, full hd, very detailed, sharp and clear, across the screen, in the frame, "
    "on the screen, short loop, 3d, 2d, 4k"
)
# The background; {words} "striped navy", {noun} one of GROUND.
GROUND = "background, backdrop, wall, surface, canvas, ground, screen, scene"
LAST = (" and ", ", ", " and also ")  # before the last part of a list
ON = (
    "on a {words} {noun}",
    "on the {words} {noun}",
    "over a {words} {noun}",
    "against a {words} {noun}",
    "in front of a {words} {noun}",
    "before a {words} {noun}",
    "upon a {words} {noun}",
    "with a {words} {noun}",
    "on {words}",
)
BEHIND = (
    "the {noun} is {words}",
    "{words} {noun}",
    "the {noun} behind it is {words}",
    "a {words} {noun} is behind it",
    "the {noun} looks {words}",
)
# Words people write around what matters; a few are dropped into captions so that they are known to mean nothing.
STRAY = (
    "a an and are as at be been but can could do does for from get has have he her here his how i if in into is "
    "it its just like made may me moment more most my new nice of oh ok okay one only or our out own quite really "
    "same seen she should so some such than thanks that their them then these they this those through today very "
    "was we well were what when where which while who will with would yes you your video clip film frame image "
    "picture camera scene view shot computer animated graphics geometry art style minimal abstract perfect fine "
    "amazing awesome fun happy kind sort second seconds time always whole entire middle center centre space area "
    "place room world sky air table"
)
