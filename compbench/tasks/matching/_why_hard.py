"""The reasons besides composition why an example of Winoground is hard, by id (Diwan et al., EMNLP 2022; MIT licence).

From new_tag_assignments.json of ajd12342/why-winoground-hard at 7069ff6. An example may have several of the tags; the
authors call the 172 without any vanilla.
"""

from __future__ import annotations

__all__ = ["N_TAGGED", "TAGS", "VANILLA", "why_hard"]

N_TAGGED = 400  # ids, from 0
VANILLA = "Vanilla"
_IDS = {
    "Complex Reasoning": """
        16 40 44 46 55 58 81 83 93 97 103 111 116 118 128 130 135 143 144 176 190 191 192 193 199 206 208 209 210
        211 217 218 219 227 228 230 234 238 241 242 249 254 258 260 262 264 267 268 275 276 281 284 286 287 292 295
        296 298 299 304 311 312 316 330 331 334 336 342 347 358 361 371 373 375 382 383 392 396
    """,
    "Unusual Image": """
        31 36 38 41 42 61 62 70 78 84 93 110 114 116 128 133 136 155 159 164 173 174 188 201 203 204 206 209 218 223
        239 245 246 247 254 274 275 277 280 282 293 303 307 314 319 320 327 329 339 362 367 383 384 388 393 395
    """,
    "Unusual Text": """
        10 41 49 58 63 68 70 152 156 159 163 174 198 201 209 214 215 221 229 233 237 253 257 264 275 287 303 315 318
        323 324 326 327 335 338 342 343 345 346 351 354 359 364 376 383 385 386 387 390 394
    """,
    "Ambiguously Correct": """
        3 13 36 46 75 76 77 78 82 86 88 113 119 121 131 132 133 148 189 220 221 262 263 287 295 300 303 305 307 310
        319 322 332 340 343 344 348 353 355 356 363 374 377 381 386 394
    """,
    "Visually Difficult": """
        4 22 23 25 27 28 31 36 58 65 69 70 77 97 116 118 134 138 159 163 172 176 182 187 200 214 226 227 232 241 255
        268 286 335 352 356 373 376
    """,
    "Non Minimal": """
        72 73 74 95 96 133 149 150 164 218 221 222 224 235 237 246 274 275 321 325 326 327 332 333 334 350 364 365
        398 399
    """,
}
TAGS = (*_IDS, VANILLA)
_TAGS_OF = {
    str(number): tuple(tag for tag, ids in _IDS.items() if str(number) in ids.split()) for number in range(N_TAGGED)
}


def why_hard(example_id: str) -> tuple[str, ...]:
    """The tags of an example of the published set.

    >>> why_hard("36"), why_hard("0")
    (('Unusual Image', 'Ambiguously Correct', 'Visually Difficult'), ('Vanilla',))
    """
    return _TAGS_OF[example_id] or (VANILLA,)
