def page(text):
    return text[:0] + '\n\n\n\n'
