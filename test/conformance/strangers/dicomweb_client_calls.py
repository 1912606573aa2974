"""Twenty calls of dicomweb-client against a gateway, each with its contents asserted.
usage: dicomweb_client_calls.py URL FILE...    one line "CALL<tab>name[<tab>failure]" each, then END
The files are the slices of one CT series, in order. The gateway answers with pseudonyms; pixels and geometry are as sent."""
import io
import sys
import traceback

import numpy
import pydicom
import PIL.Image
from dicomweb_client.api import DICOMwebClient
from pydicom.uid import JPEGLosslessSV1

URL, FILES = sys.argv[1], sys.argv[2:]
client = DICOMwebClient(url=URL)
sent = [pydicom.dcmread(file) for file in FILES]
pixels = [dataset.PixelData for dataset in sent]
ROWS, COLUMNS = sent[0].Rows, sent[0].Columns
facts = {}


def call(name):
    def run(body):
        try:
            body()
            print(f"CALL\t{name}", flush=True)
        except Exception:
            print("CALL\t" + name + "\t" + traceback.format_exc(limit=3).replace("\n", "\\n"), flush=True)
    return run


def value(dataset, tag):
    values = dataset[tag].get("Value", [])
    return values[0] if values else None


def window(stored, centre, width):
    """PS3.3 C.11.2.1.2.1, on the values after rescaling."""
    hu = numpy.frombuffer(stored, "<i2").reshape(ROWS, COLUMNS).astype(float) - 1024
    return numpy.clip(((hu - (centre - 0.5)) / (width - 1) + 0.5) * 255, 0, 255)


def close_to(image, expected, most):
    assert image.size == (COLUMNS, ROWS), image.size
    difference = numpy.abs(numpy.asarray(image.convert("L")).astype(float) - expected).mean()
    assert difference < most, f"mean difference {difference}"


@call("01 store_instances: every object is referenced")
def _():
    answer = client.store_instances(sent)
    assert len(answer.ReferencedSOPSequence) == len(sent)
    assert "FailedSOPSequence" not in answer
    assert {item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence} == {dataset.SOPInstanceUID for dataset in sent}


@call("02 search_for_studies: the one study, under a pseudonym")
def _():
    studies = client.search_for_studies()
    assert len(studies) == 1
    facts["study"] = value(studies[0], "0020000D")
    facts["patient"] = value(studies[0], "00100020")
    facts["name"] = value(studies[0], "00100010")["Alphabetic"]
    assert facts["patient"] != sent[0].PatientID and facts["study"] != sent[0].StudyInstanceUID
    assert value(studies[0], "00201208") == len(sent)
    assert client.search_for_studies(search_filters={"PatientID": facts["patient"]}) == studies
    assert client.search_for_studies(search_filters={"PatientID": sent[0].PatientID}) == []


@call("03 search_for_studies, fuzzymatching: a name that is spelt slightly otherwise is found, another is not")
def _():
    literal = client.search_for_studies(search_filters={"PatientName": facts["name"]})
    assert len(literal) == 1
    lowered = facts["name"].replace("^", " ").lower()
    assert client.search_for_studies(fuzzymatching=True, search_filters={"PatientName": lowered}) == literal
    assert client.search_for_studies(fuzzymatching=True, search_filters={"PatientName": "Quexquitz"}) == []


@call("04 search_for_series: attributes of table 10.6.3-4")
def _():
    series = client.search_for_series(facts["study"])
    assert len(series) == 1
    facts["series"] = value(series[0], "0020000E")
    assert value(series[0], "00080060") == "CT"
    assert value(series[0], "00201209") == len(sent)


@call("05 search_for_instances, limit and offset: the pages make up the whole, in order")
def _():
    pages = []
    for offset in range(0, len(sent), 2):
        page = client.search_for_instances(facts["study"], facts["series"], limit=2, offset=offset)
        assert len(page) == 2
        pages += page
    assert [value(one, "00200013") for one in pages] == list(range(1, len(sent) + 1))
    facts["instances"] = [value(one, "00080018") for one in pages]
    assert len(set(facts["instances"])) == len(sent)


@call("06 search_for_instances, get_remaining: pages until nothing is left")
def _():
    found = client.search_for_instances(facts["study"], limit=1, get_remaining=True)
    assert [value(one, "00080018") for one in found] == facts["instances"]


@call("07 search_for_studies, fields: named attributes, and all of them")
def _():
    few = client.search_for_studies()[0]
    some = client.search_for_studies(fields=["StudyDescription", "00081060"])[0]
    everything = client.search_for_studies(fields=["all"])[0]
    assert set(few) | {"00081030", "00081060"} == set(some)
    assert set(few) < set(everything) and value(everything, "00120062") == "YES"


def check_metadata(datasets, count):
    assert len(datasets) == count
    for dataset in datasets:
        assert dataset["00080005"]["Value"] == ["ISO_IR 192"]
        assert value(dataset, "00280010") == ROWS and value(dataset, "00100020") == facts["patient"]
        assert "BulkDataURI" in dataset["7FE00010"]
        original = sent[value(dataset, "00200013") - 1]
        assert [float(one) for one in dataset["00200032"]["Value"]] == [float(one) for one in original.ImagePositionPatient]
        pydicom.Dataset.from_json(dataset, bulk_data_uri_handler=lambda *_: b"")


@call("08 retrieve_study_metadata")
def _():
    check_metadata(client.retrieve_study_metadata(facts["study"]), len(sent))


@call("09 retrieve_series_metadata")
def _():
    check_metadata(client.retrieve_series_metadata(facts["study"], facts["series"]), len(sent))


@call("10 retrieve_instance_metadata")
def _():
    one = client.retrieve_instance_metadata(facts["study"], facts["series"], facts["instances"][2])
    check_metadata([one], 1)
    assert value(one, "00080018") == facts["instances"][2]
    facts["bulk"] = one["7FE00010"]["BulkDataURI"]


@call("11 retrieve_instance: the object, with the pixels that were sent")
def _():
    dataset = client.retrieve_instance(facts["study"], facts["series"], facts["instances"][0])
    assert dataset.SOPInstanceUID == facts["instances"][0] and dataset.PixelData == pixels[0]
    assert dataset.PatientIdentityRemoved == "YES" and dataset.PatientName != sent[0].PatientName


@call("12 retrieve_instance as JPEG Lossless (.4.70)")
def _():
    kind = (("application/dicom", JPEGLosslessSV1),)
    dataset = client.retrieve_instance(facts["study"], facts["series"], facts["instances"][0], media_types=kind)
    assert dataset.file_meta.TransferSyntaxUID == JPEGLosslessSV1
    frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    assert frame[:2] == b"\xff\xd8" and b"\xff\xc3" in frame, "not JPEG Lossless (SOF3)"


@call("13 retrieve_series: every object, with the pixels that were sent")
def _():
    found = {one.InstanceNumber: one.PixelData for one in client.retrieve_series(facts["study"], facts["series"])}
    assert found == {number + 1: one for number, one in enumerate(pixels)}


@call("14 retrieve_instance_frames: the bytes that were sent")
def _():
    frames = client.retrieve_instance_frames(facts["study"], facts["series"], facts["instances"][1], frame_numbers=[1])
    assert frames == [pixels[1]]


@call("15 retrieve_instance_frames as JPEG 2000: decodes to what was sent")
def _():
    kind = (("image/jp2", "1.2.840.10008.1.2.4.90"),)
    frames = client.retrieve_instance_frames(facts["study"], facts["series"], facts["instances"][1], [1], media_types=kind)
    decoded = numpy.asarray(PIL.Image.open(io.BytesIO(frames[0])))
    # Pillow stretches what has fewer bits to sixteen.
    decoded = decoded >> 16 - sent[1].BitsStored
    assert (decoded == numpy.frombuffer(pixels[1], "<i2").reshape(ROWS, COLUMNS)).all()


@call("16 retrieve_instance_rendered as JPEG: the window of the object")
def _():
    answer = client.retrieve_instance_rendered(facts["study"], facts["series"], facts["instances"][0], media_types=("image/jpeg",))
    image = PIL.Image.open(io.BytesIO(answer))
    assert image.format == "JPEG"
    close_to(image, window(pixels[0], 40, 400), 4)


@call("17 retrieve_instance_rendered as GIF")
def _():
    answer = client.retrieve_instance_rendered(facts["study"], facts["series"], facts["instances"][0], media_types=("image/gif",))
    image = PIL.Image.open(io.BytesIO(answer))
    assert image.format == "GIF"
    close_to(image, window(pixels[0], 40, 400), 4)


@call("18 retrieve_instance_rendered with window, quality and viewport")
def _():
    ask = lambda params: PIL.Image.open(io.BytesIO(client.retrieve_instance_rendered(
        facts["study"], facts["series"], facts["instances"][0], media_types=("image/jpeg",), params=params)))
    close_to(ask({"window": "-600,1500,linear", "quality": 95}), window(pixels[0], -600, 1500), 4)
    assert ask({"viewport": f"{COLUMNS // 2},{ROWS // 2}"}).size == (COLUMNS // 2, ROWS // 2)


@call("19 retrieve_bulkdata: whole, and a range of it")
def _():
    assert b"".join(client.retrieve_bulkdata(facts["bulk"])) == pixels[2]
    ranged = client.retrieve_bulkdata(facts["bulk"], byte_range=(100, 199))
    assert b"".join(ranged) in (pixels[2][100:200], pixels[2]), "neither the range nor, ignoring it, the whole"


@call("20 delete_instance, delete_study: gone, and said to be gone")
def _():
    client.delete_instance(facts["study"], facts["series"], facts["instances"][0])
    assert len(client.search_for_instances(facts["study"])) == len(sent) - 1
    client.delete_study(facts["study"])
    assert client.search_for_studies() == []
    try:
        client.retrieve_study_metadata(facts["study"])
        raise AssertionError("still there")
    except Exception as error:
        assert error.response.status_code == 410, error


print("END")
