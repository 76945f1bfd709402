"""Where the field's corpora are published, and by which checksums their archives are known.

A checksum is the publisher's own (Zenodo gives MD5), or the one that the loaders of an archive have
agreed on. None means that none is published: archives that GitHub makes on demand, and lists whose
server gives none. Those are pinned to a commit or a tag, and the digest that is found is shown.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Archive:
    """A file to fetch.

    Attributes
    ----------
    name : str
        The file; archives (``.tar.gz``, ``.zip``, ``.z01``...) are unpacked, others kept as they are.
    url : str
        Where it is published.
    digest : str or None
        ``"md5:..."`` or ``"sha256:..."``.
    """

    name: str
    url: str
    digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficialCorpus:
    """A corpus as it is published.

    Attributes
    ----------
    kind : str
        The kind that reads it: see `pipeline.corpora.CORPORA`.
    archives : tuple of Archive
        All of its files.
    holds : tuple of str
        Paths in the unpacked corpus, or patterns of them, by which it is recognised.
    inside : str
        Folder of the archives that is the corpus.
    remark : str
        What a user has yet to do.
    """

    kind: str
    archives: tuple[Archive, ...]
    holds: tuple[str, ...]
    inside: str = "."
    remark: str = ""


def _from_record(number: int, digests: dict[str, str]) -> tuple[Archive, ...]:
    """List files of a record of Zenodo with their MD5."""
    base = f"https://zenodo.org/records/{number}/files"
    return tuple(Archive(n, f"{base}/{n}?download=1", f"md5:{md5}") for n, md5 in digests.items())


def _speech_commands(version: str, sha256: str) -> OfficialCorpus:
    """Name a version of Speech Commands; the checksums are those of torchaudio's loader."""
    name = f"speech_commands_{version}.tar.gz"
    url = f"http://download.tensorflow.org/data/{name}"
    return OfficialCorpus(
        kind="speech-commands",
        archives=(Archive(name, url, f"sha256:{sha256}"),),
        holds=("_background_noise_/*.wav", "validation_list.txt", "testing_list.txt"),
    )


ESC50_COMMIT = "33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6"
FSDD_TAG = "1.0.10"
AUDIOSET_LISTS = (
    "balanced_train_segments.csv",
    "unbalanced_train_segments.csv",
    "eval_segments.csv",
    "class_labels_indices.csv",
)
FSD50K_DIGESTS = {
    "FSD50K.dev_audio.z01": "faa7cf4cc076fc34a44a479a5ed862a3",
    "FSD50K.dev_audio.z02": "8f9b66153e68571164fb1315d00bc7bc",
    "FSD50K.dev_audio.z03": "1196ef47d267a993d30fa98af54b7159",
    "FSD50K.dev_audio.z04": "d088ac4e11ba53daf9f7574c11cccac9",
    "FSD50K.dev_audio.z05": "81356521aa159accd3c35de22da28c7f",
    "FSD50K.dev_audio.zip": "c480d119b8f7a7e32fdb58f3ea4d6c5a",
    "FSD50K.eval_audio.z01": "3090670eaeecc013ca1ff84fe4442aeb",
    "FSD50K.eval_audio.zip": "6fa47636c3a3ad5c7dfeba99f2637982",
    "FSD50K.ground_truth.zip": "ca27382c195e37d2269c4c866dd73485",
    "FSD50K.metadata.zip": "b9ea0c829a411c1d42adb9da539ed237",
    "FSD50K.doc.zip": "3516162b82dc2945d3e7feba0904e800",
}
SONYC_UST_DIGESTS = {
    "annotations.csv": "70b507b15bb4cfcce4870925302f276b",
    "dcase-ust-taxonomy.yaml": "6c1cca1c4c383a6ebb0cb71cb74fe3a9",
    "audio-0.tar.gz": "bbb4dbae7d2e58e18d24878b9ee1eb51",
    "audio-1.tar.gz": "7c369ff37ac6a1fdd8493fdffe62e0a1",
    "audio-2.tar.gz": "412241c063d7f196953d3dd1c44aeb5e",
    "audio-3.tar.gz": "d2a872392d95993a2c238d305b940812",
    "audio-4.tar.gz": "b15b0e0cb3f8584259ef0d24293a9be3",
    "audio-5.tar.gz": "de745f887067433757a2f2c8f99f99bb",
    "audio-6.tar.gz": "b0286c67468369d66336f6f5ddede31f",
    "audio-7.tar.gz": "ff300183ab7a9d3f2f74c3b730ffeb52",
    "audio-8.tar.gz": "7be76b821fa6dbe20f6b50ca440e1024",
    "audio-9.tar.gz": "959f7edfbb26eadad9865069f38aa9dd",
    "audio-10.tar.gz": "84e94de273666c537a3e6b709ee88d9b",
    "audio-11.tar.gz": "44fe1f43121a7d1178aa0cdf7477793b",
    "audio-12.tar.gz": "a7eb21011f460b5ac289f8e285e875ab",
    "audio-13.tar.gz": "27945a8b1008eec787f97213164951e6",
    "audio-14.tar.gz": "fb8c7d81c3bde3a0c86c1e55e6a85a24",
    "audio-15.tar.gz": "f6af9b65d876ef96d199b9e5f0473cb9",
    "audio-16.tar.gz": "e8337c61a90c30989d500f950fbe443a",
    "audio-17.tar.gz": "3e47e85eb4564a30fe7f442ee97ec7b9",
    "audio-18.tar.gz": "c6b2ef4d0d5b7269d465c469cdbbdc4b",
}

OFFICIAL_CORPORA = {
    "speech-commands-v1": _speech_commands(
        "v0.01", "743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d"
    ),
    "speech-commands-v2": _speech_commands(
        "v0.02", "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"
    ),
    "esc50": OfficialCorpus(
        kind="esc",
        archives=(
            Archive(
                f"ESC-50-{ESC50_COMMIT}.zip",
                f"https://github.com/karolpiczak/ESC-50/archive/{ESC50_COMMIT}.zip",
            ),
        ),
        holds=("audio/*.wav", "meta/esc50.csv"),
        inside=f"ESC-50-{ESC50_COMMIT}",
    ),
    "fsdd": OfficialCorpus(
        kind="fsdd",
        archives=(
            Archive(
                f"free-spoken-digit-dataset-{FSDD_TAG}.tar.gz",
                "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/"
                f"v{FSDD_TAG}.tar.gz",
            ),
        ),
        holds=("recordings/*.wav",),
        inside=f"free-spoken-digit-dataset-{FSDD_TAG}",
    ),
    "fsd50k": OfficialCorpus(
        kind="fsd50k",
        archives=_from_record(4060432, FSD50K_DIGESTS),
        holds=(
            "FSD50K.dev_audio/*.wav",
            "FSD50K.eval_audio/*.wav",
            "FSD50K.ground_truth/dev.csv",
            "FSD50K.ground_truth/eval.csv",
            "FSD50K.ground_truth/vocabulary.csv",
        ),
    ),
    "urbansound8k": OfficialCorpus(
        kind="urbansound8k",
        archives=_from_record(1203745, {"UrbanSound8K.tar.gz": "9aa69802bbf37fb986f71ec1483a196e"}),
        holds=("audio/*/*.wav", "metadata/UrbanSound8K.csv"),
        inside="UrbanSound8K",
    ),
    "sonyc-ust": OfficialCorpus(
        kind="sonyc-ust",
        archives=_from_record(3966543, SONYC_UST_DIGESTS),
        holds=("annotations.csv", "**/*.wav"),
    ),
    "audioset": OfficialCorpus(
        kind="audioset",
        archives=tuple(
            Archive(
                name, f"https://storage.googleapis.com/us_audioset/youtube_corpus/v1/csv/{name}"
            )
            for name in AUDIOSET_LISTS
        ),
        holds=AUDIOSET_LISTS,
        remark="These are AudioSet's lists. Its audio is not published as an archive: the recordings "
        "are stretches of YouTube videos, many of them removed. Put those you may use below this "
        "folder, named by video and start, such as audio/YID_30.000.wav; missing ones are counted.",
    ),
}
