"""Find what annotation tools write, and draw it as masks: pairs, masks of objects, labelme, CVAT, VOC, YOLO and COCO.

Each find function takes the command line of tools.convert and returns a Found.
"""
from tools.annotations.coco import find_coco
from tools.annotations.cvat import find_cvat
from tools.annotations.labelme import find_labelme
from tools.annotations.objects import find_objects
from tools.annotations.pairs import find_pairs
from tools.annotations.voc import find_voc
from tools.annotations.yolo import find_yolo

FIND = {"pairs": find_pairs, "objects": find_objects, "labelme": find_labelme, "cvat": find_cvat, "voc": find_voc,
        "yolo": find_yolo, "coco": find_coco}
