"""The page of `pconv app`: open a photo, paint the hole, see and download the fill.

`serving` opens the port, `server` answers, `guard` turns strangers away; the page itself is
``index.html`` with its style and scripts, plain files without a build step.

Why not Gradio: its image editor has no rectangle tool and re-encodes and scales what is uploaded,
so known pixels would not come back bit for bit; and its pages load fonts and scripts from other
hosts. Here the photo's own file goes to the server, the mask at the photo's own size, and nothing
to anybody else.
"""
