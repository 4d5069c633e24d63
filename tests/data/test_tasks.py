import pytest
from pydantic import ValidationError

from tests.fakes import distinct_picture, pair_members, write_tar
from vl_pipeline.data.tasks import (
    ClassificationTask,
    RetrievalTask,
    Tasks,
    read_class_names,
    read_target_texts,
    read_task,
)
from vl_pipeline.errors import ShardError


def classified(key: str, label: str, number: int) -> list[tuple[str, bytes]]:
    return [(f"{key}.webp", distinct_picture(number, kind="WEBP")), (f"{key}.cls", label.encode())]


def write_classification(folder, *shards, names: str = "dog\ncat\n"):
    folder.mkdir(parents=True)
    (folder / "classnames.txt").write_text(names)
    (folder / "zeroshot_classification_templates.txt").write_text("a photo of a {c}\n{c}\n\n")
    for number, samples in enumerate(shards):
        write_tar(folder / "test" / f"{number}.tar", *samples)
    return folder


def test_classification_task_is_read_with_its_labels(tmp_path):
    folder = write_classification(
        tmp_path / "pets", [classified("s0", "1", 0), classified("s1", "0\n", 1)]
    )

    task = read_task(folder, split="test")

    assert isinstance(task, ClassificationTask)
    assert task.name == "pets"
    assert task.class_names == ["dog", "cat"]
    assert task.templates == ["a photo of a {c}", "{c}"]
    assert task.labels.tolist() == [1, 0]
    assert [distinct_picture(0, kind="WEBP"), distinct_picture(1, kind="WEBP")] == task.images


def test_shards_are_read_in_the_order_of_their_numbers(tmp_path):
    shards = [[classified(f"s{n}", str(n % 2), n)] for n in range(11)]
    folder = write_classification(tmp_path / "pets", *shards)  # 10.tar comes after 2.tar

    task = read_task(folder, split="test")

    assert [n % 2 for n in range(11)] == task.labels.tolist()
    assert distinct_picture(10, kind="WEBP") == task.images[10]


def test_retrieval_task_is_read_with_all_captions_of_an_image(tmp_path):
    folder = tmp_path / "flickr"
    parts = [
        pair_members("s0", caption="a dog\na small dog\n", image=distinct_picture(0)),
        pair_members("s1", caption="a cat", image=distinct_picture(1)),
    ]
    write_tar(folder / "test" / "0.tar", *parts)
    (folder / "dataset_type.txt").write_text("retrieval\n")

    task = read_task(folder, split="test")

    assert isinstance(task, RetrievalTask)
    assert task.captions == [["a dog", "a small dog"], ["a cat"]]
    assert [distinct_picture(0), distinct_picture(1)] == task.images


def write_retrieval(folder, *captions: bytes):
    parts = [
        pair_members(f"s{n}", caption=caption, image=distinct_picture(n))
        for n, caption in enumerate(captions)
    ]
    write_tar(folder / "test" / "0.tar", *parts)
    (folder / "dataset_type.txt").write_text("retrieval\n")
    return folder


def test_blank_lines_are_no_captions(tmp_path):
    folder = write_retrieval(tmp_path / "flickr", b"\xef\xbb\xbfa dog\n\n \na small dog\n\n")

    task = read_task(folder, split="test")

    assert isinstance(task, RetrievalTask)
    assert task.captions == [["a dog", "a small dog"]]


@pytest.mark.parametrize(
    ("caption", "message"),
    [(b"", "is empty"), (b"\n \n", "is empty"), (b"\xff", "is not UTF-8")],
)
def test_image_without_a_caption_to_read_is_refused_by_name(tmp_path, caption, message):
    folder = write_retrieval(tmp_path / "flickr", b"a dog", caption)

    with pytest.raises(ShardError, match=rf"flickr/test/0\.tar: 's1': its \.txt {message}"):
        read_task(folder, split="test")


def test_label_or_list_of_classes_that_is_not_utf_8_is_refused_by_name(tmp_path):
    samples = [("s0.webp", distinct_picture(0, kind="WEBP")), ("s0.cls", b"\xff")]
    folder = write_classification(tmp_path / "pets", [samples])

    with pytest.raises(ShardError, match=r"pets/test/0\.tar: 's0': its \.cls is not UTF-8"):
        read_task(folder, split="test")
    (folder / "classnames.txt").write_bytes(b"\xff")
    with pytest.raises(ShardError, match=r"pets/classnames\.txt is not UTF-8"):
        read_class_names(folder)


def test_target_texts_are_the_class_names_of_all_tasks_each_once(tmp_path):
    write_classification(tmp_path / "pets", names="dog\ncat\n")
    write_classification(tmp_path / "zoo", names="giraffe\ncat\n")
    tasks = Tasks(folder=str(tmp_path), curate_for=("zoo", "pets"), evaluate_on=("pets",))

    assert read_target_texts(tasks) == ["giraffe", "cat", "dog"]


def test_task_that_is_not_there_is_named(tmp_path):
    tasks = Tasks(folder=str(tmp_path), curate_for=("zoo",), evaluate_on=("zoo",))

    with pytest.raises(ShardError, match=r"zoo/classnames\.txt does not exist"):
        read_target_texts(tasks)


def test_empty_list_of_classes_is_refused(tmp_path):
    folder = write_classification(tmp_path / "pets", [classified("s0", "0", 0)], names="\n")

    with pytest.raises(ShardError, match="is empty"):
        read_task(folder, split="test")


def test_byte_order_mark_is_no_part_of_the_first_class(tmp_path):
    names = "\ufeffdog\r\ncat\r\n\r\n"
    folder = write_classification(tmp_path / "pets", [classified("s0", "0", 0)], names=names)

    assert read_class_names(folder) == ["dog", "cat"]


def test_blank_line_among_classes_is_refused_because_labels_count_lines(tmp_path):
    folder = write_classification(tmp_path / "pets", names="dog\n \ncat\n")

    with pytest.raises(ShardError, match=r"classnames\.txt: line 2 is blank"):
        read_class_names(folder)


def test_split_without_shards_is_refused(tmp_path):
    folder = write_classification(tmp_path / "pets", [classified("s0", "0", 0)])

    with pytest.raises(ShardError, match=r"holds no \.tar"):
        read_task(folder, split="val")


@pytest.mark.parametrize("label", ["2", "-1"])
def test_label_without_a_name_is_refused(tmp_path, label):
    folder = write_classification(tmp_path / "pets", [classified("s0", label, 0)])

    with pytest.raises(ShardError, match="has no name"):
        read_task(folder, split="test")


def test_label_that_is_no_number_is_refused(tmp_path):
    folder = write_classification(tmp_path / "pets", [classified("s0", "dog", 0)])

    with pytest.raises(ShardError):
        read_task(folder, split="test")


def test_split_of_empty_shards_is_refused(tmp_path):
    folder = write_classification(tmp_path / "pets", [])

    with pytest.raises(ShardError):
        read_task(folder, split="test")


def test_sample_without_a_label_is_refused(tmp_path):
    folder = write_classification(
        tmp_path / "pets", [[("s0.webp", distinct_picture(0, kind="WEBP"))]]
    )

    with pytest.raises(ShardError, match=r"but no \.cls"):
        read_task(folder, split="test")


def test_sample_without_an_image_is_refused(tmp_path):
    folder = write_classification(tmp_path / "pets", [[("s0.cls", b"0")]])

    with pytest.raises(ShardError, match="but no image"):
        read_task(folder, split="test")


def test_broken_shard_is_refused_because_evaluation_needs_the_whole_task(tmp_path):
    folder = write_classification(tmp_path / "pets", [classified("s0", "0", 0)])
    path = folder / "test" / "0.tar"
    path.write_bytes(path.read_bytes()[:700])

    with pytest.raises(ShardError, match="evaluation needs the whole task"):
        read_task(folder, split="test")


def test_key_that_comes_again_is_refused_because_evaluation_needs_the_whole_task(tmp_path):
    samples = [classified("s0", "0", 0), classified("s1", "0", 1), classified("s0", "1", 2)]
    folder = write_classification(tmp_path / "pets", samples)

    with pytest.raises(ShardError):
        read_task(folder, split="test")


def test_a_template_without_a_place_for_the_name_is_refused():
    with pytest.raises(ValidationError, match="'a photo of a dog', which has no place"):
        Tasks(
            folder="tasks",
            curate_for=("a",),
            evaluate_on=("a",),
            target_templates=("{c}", "a photo of a dog"),
        )
